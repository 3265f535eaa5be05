"""Who runs the servers of a data folder: one process at a time, and it says its name."""

import fcntl
import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from rag.embedded import descriptors
from rag.errors import SetupError

# holder() takes the lock for an instant to learn that nobody has it; a start must outlast that.
_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that runs the servers; `sockets` is None until they answer."""

    pid: int
    command: str
    since: str
    sockets: Path | None

    def __str__(self) -> str:
        return f"process {self.pid} (`{self.command}`, since {self.since})"


class Lock:
    """The exclusive right to a data folder, lost when this process ends in whatever way."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Take the lock; `SetupError` says who has it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SetupError(f"cannot open {path}: {error.strerror}; set CLOISTER_DATA_DIR") from error
        if not _try_for(descriptor, _PATIENCE_S):
            held = _read(descriptor)
            os.close(descriptor)
            raise SetupError(
                f"{held or 'another process'} runs the servers of {path.parent}; "
                "stop it, or set CLOISTER_DATA_DIR to another folder"
            )
        lock = cls(descriptors.keep_from_forks(descriptor))
        lock.publish(None)
        return lock

    def publish(self, sockets: Path | None) -> None:
        """Write down who we are and, once the servers answer, where their sockets are."""
        record = {
            "pid": os.getpid(),
            "command": _own_command(),
            "since": self._since,
            "sockets": str(sockets) if sockets else None,
        }
        self._write(json.dumps(record) + "\n")

    def release(self) -> None:
        """Give the right back."""
        self._write("")
        descriptors.close(self._descriptor)

    def _write(self, text: str) -> None:
        content = text.encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


def holder(path: Path) -> Holder | None:
    """Find the live process that holds a lock, or None; a lock file that we may not read counts as none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def _try_for(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _read(descriptor: int) -> Holder | None:
    try:
        record = json.loads(os.pread(descriptor, 65_536, 0))
        sockets = Path(record["sockets"]) if record["sockets"] else None
        return Holder(record["pid"], record["command"], record["since"], sockets)
    except (ValueError, KeyError, TypeError):
        return None  # caught between two writes


def _own_command() -> str:
    # The program and its subcommand: further arguments can hold a key, and this file stays.
    words = [Path(sys.argv[0]).name, *(word for word in sys.argv[1:2] if not word.startswith("-"))]
    return shlex.join(words)
