"""A server process that ends when this one does, in whatever way this one ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rag.embedded import descriptors
from rag.embedded.account import Account
from rag.errors import SetupError

_LEASH = Path(__file__).with_name("leash.py")
_LOG_BYTES = 10_000_000
_LOG_TAIL_BYTES = 2_000


def clean_environment() -> dict[str, str]:
    """Make the environment of every program run here: none of ours, so that no PG* variable steers it."""
    # PG_GRANDPARENT_PID: see rag.embedded.postgres.disown_stale_pid_file. LC_ALL=C: messages in English, and
    # macOS starts threads in a process that has no locale, which the postmaster forbids.
    return {"PATH": os.defpath, "LC_ALL": "C", "PG_GRANDPARENT_PID": str(os.getpid())}


class ServerProcess:
    """One running server, owned by whoever started it: `stop` it.

    It runs in a session of its own, so a Ctrl-C in the terminal reaches us alone and we stop it in order.
    Started from the main thread on Linux it is our direct child; else a small watchdog stands between.
    """

    def __init__(self, command: Sequence[str], *, account: Account, stop_signal: signal.Signals, log: Path) -> None:
        self._stop_signal = stop_signal
        self._log = log
        self._log_start = rotate(log)
        self._name = Path(command[0]).name
        leash = [_leash_mode(), os.getpid(), int(stop_signal), account.uid, account.gid]
        standard_input, self._lifeline = os.pipe()
        descriptors.keep_from_forks(self._lifeline)
        with _appending(log) as output:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(_LEASH), *map(str, leash), *command],
                stdin=standard_input,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=clean_environment(),
                start_new_session=True,
            )
        os.close(standard_input)

    def require_running(self) -> None:
        """Raise `SetupError`, with the end of its log, if the server has ended."""
        status = self._process.poll()
        if status is not None:
            raise SetupError(f"{self._name} ended with status {status}; {self._log} ends:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Read the last lines that this server, and not one before it, wrote to its log."""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip()

    def stop(self, timeout: float) -> None:
        """Ask the server to end, and kill it after `timeout` seconds; a second time does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # the watchdog's group, where there is one
            self._process.wait()
        descriptors.close(self._lifeline)


def _leash_mode() -> str:
    in_main_thread = threading.current_thread() is threading.main_thread()
    return "kernel" if sys.platform == "linux" and in_main_thread else "pipe"


def command_of(pid: int) -> list[str]:
    """Read the arguments that a process runs with; empty when there is none, or only its corpse."""
    if sys.platform == "linux":
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0")] if raw else []
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.split()


def rotate(log: Path) -> int:
    """Move a log that has grown over 10 MB to `<name>.1`, over an older one; returns the bytes that stay."""
    size = log.stat().st_size if log.exists() else 0
    if size <= _LOG_BYTES:
        return size
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


@contextmanager
def _appending(log: Path) -> Iterator[int]:
    # We open the log and the server inherits it: an account with fewer rights needs none in the log folder.
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
