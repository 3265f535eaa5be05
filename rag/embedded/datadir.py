"""The folder that holds everything the embedded servers keep.

lock         who runs the servers, and where their sockets are
postgres/    the database cluster; its owner is the account the servers run as
run          the sockets: a folder, or a link to a shorter path
log/         postgres.log, valkey.log, and the one before each
programs/    copies of the programs, only where the server account cannot enter the installed ones
"""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import rag.settings
from rag.embedded.account import Account
from rag.embedded.endpoints import POSTGRES_SOCKET
from rag.errors import SetupError

MINIMUM_FREE_BYTES = 500_000_000

# The kernel's limit is 108 bytes on Linux and 104 on macOS, with the terminating zero.
_LONGEST_SOCKET_PATH = 100


def default_data_dir() -> Path:
    """$CLOISTER_DATA_DIR, else the place that `rag.settings` gives to this user."""
    configured = os.environ.get("CLOISTER_DATA_DIR")
    return Path(configured).expanduser().resolve() if configured else rag.settings.default_data_dir()


def make_data_dir(path: Path) -> Path:
    """Make the folder if it is not there, and return its absolute path.

    A new one is open to its owner only; made by root, the server account may also pass through it.
    `SetupError` if it cannot be made.
    """
    root = path.expanduser().resolve()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        if not root.exists():
            root.mkdir(mode=0o700)
            root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        (root / "log").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make {root}: {error.strerror}; set CLOISTER_DATA_DIR") from error
    return root


def require_free_disk(root: Path, minimum: int = MINIMUM_FREE_BYTES) -> None:
    """Raise `SetupError` when fewer than `minimum` bytes are free: PostgreSQL stops hard on a full disk."""
    free = shutil.disk_usage(root).free
    if free < minimum:
        raise SetupError(
            f"{root} has {free // 1_000_000} MB free and the servers need {minimum // 1_000_000} MB; "
            "free some, or set CLOISTER_DATA_DIR to a folder on another disk"
        )


def make_socket_dir(root: Path, account: Account) -> Path:
    """Make the folder of the sockets, which only the server account may enter, and return its path.

    It is `run` in the data folder; where that makes a path too long for a socket, `run` is a link to a
    folder of a random name under $XDG_RUNTIME_DIR or the temporary folder, used again while it is sound.
    """
    run = root / "run"
    if not _can_hold_sockets(run):
        return _linked_socket_dir(run, account)
    if run.is_symlink():
        run.unlink()
    run.mkdir(mode=0o700, exist_ok=True)
    account.take(run)
    return run


def remove_linked_socket_dir(root: Path) -> None:
    """Leave nothing outside the data folder; what does not go is used again by the next start."""
    run = root / "run"
    if run.is_symlink():
        with suppress(OSError):
            run.readlink().rmdir()
            run.unlink()


def _can_hold_sockets(directory: Path) -> bool:
    # A comma separates folders in unix_socket_directories and has no escape outside quotes.
    path = os.fsencode(directory / POSTGRES_SOCKET)
    return len(path) <= _LONGEST_SOCKET_PATH and b"," not in path and b'"' not in path


def _linked_socket_dir(run: Path, account: Account) -> Path:
    if run.is_symlink():
        if _is_private_to(account, run.readlink()):
            return run.readlink()
        run.unlink()
    elif run.is_dir():
        run.rmdir()
    short = Path(tempfile.mkdtemp(prefix="cloister-", dir=_short_base(account)))
    account.take(short)
    run.symlink_to(short)
    return short


def _is_private_to(account: Account, directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and found.st_mode & 0o077 == 0


def _short_base(account: Account) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for base in (*([Path(runtime)] if runtime else []), Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108
        usable = base.is_dir() and account.stopped_at(base) is None
        if usable and _can_hold_sockets(base / "cloister-12345678"):
            return base
    raise SetupError("no folder for sockets has a path short enough; set XDG_RUNTIME_DIR or TMPDIR to one")
