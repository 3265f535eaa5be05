"""The operating-system account that the servers run as.

PostgreSQL refuses to run as root, so root lends the servers an account that exists already. No account
is made and no folder above the data folder is opened: what the account cannot reach is an error that
says so.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from rag.errors import SetupError

# Tests with the account's own eyes: access lists and mount options count, mode bits alone do not tell.
_FIRST_CLOSED = 'for path do [ -x "$path" ] || { printf %s "$path"; exit 1; }; done'


class SpawnOptions(TypedDict, total=False):
    """What subprocess needs in order to run something as an account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """Who the servers run as; never root."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether this process runs as the account already."""
        return self.uid == os.geteuid()

    def spawn_options(self) -> SpawnOptions:
        """Give the arguments that make subprocess run a program as the account."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def take(self, directory: Path) -> None:
        """Give the account a folder of ours, and close it to everyone else."""
        if not self.is_ours:
            os.chown(directory, self.uid, self.gid)
        directory.chmod(0o700)

    def stopped_at(self, path: Path) -> Path | None:
        """Find the first step of an absolute path, its end included, that is closed to the account."""
        if self.is_ours:
            return None
        way = [str(step) for step in (*reversed(path.parents), path)]
        try:
            walk = subprocess.run(  # noqa: S603
                ["/bin/sh", "-c", _FIRST_CLOSED, "sh", *way],
                capture_output=True,
                check=False,
                cwd="/",
                **self.spawn_options(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SetupError(f"cannot run anything as `{self.name}`: {error}; run as another user") from error
        return Path(os.fsdecode(walk.stdout)) if walk.returncode else None

    def require_way_to(self, root: Path) -> None:
        """Raise `SetupError`, naming the closed folder, unless the account can enter `root`."""
        closed = self.stopped_at(root)
        if closed is not None:
            raise SetupError(
                f"PostgreSQL does not run as root, so it runs as `{self.name}`, and {closed} is closed to "
                "that user; set CLOISTER_DATA_DIR to a folder it can reach, such as /var/lib/cloister, "
                "or run as another user"
            )


def server_account(cluster: Path) -> Account:
    """Who runs the servers: this user; for root the cluster's owner, or `postgres` or `nobody` for a new one.

    `SetupError` when the cluster belongs to somebody else and this user is not root.
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise SetupError(f"{cluster} belongs to `{_named(owner).name}`; run as that user, or as root")
        return _named(os.geteuid())
    return _named(owner) if owner else _lent_by_root()


def _lent_by_root() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise SetupError("PostgreSQL does not run as root and no user `postgres` is there; run: useradd postgres")


def _named(uid: int | None) -> Account:
    if uid is None:
        raise ValueError
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, os.getegid() if uid == os.geteuid() else uid)
    return Account(entry.pw_name, uid, entry.pw_gid)
