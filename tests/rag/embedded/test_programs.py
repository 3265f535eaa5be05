import os
import stat
import subprocess
from pathlib import Path

import pytest

from rag.embedded import programs
from rag.embedded.account import Account
from rag.embedded.programs import Wheel
from rag.errors import SetupError

TOY = Wheel("toy-server", "toy_server", "toy_server/bin/*/toy")


@pytest.fixture
def toy(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a wheel whose program reads a library beside it, for its owner only; returns the site folder."""
    site = place / "site"
    (site / "toy_server" / "bin" / "any").mkdir(parents=True)
    (site / "toy_server" / "__init__.py").touch()
    (site / "toy_server.libs").mkdir()
    (site / "toy_server.libs" / "words").write_text("hello\n")
    (site / "toy_server-1.2.dist-info").mkdir()
    (site / "toy_server-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy-server\nVersion: 1.2\n"
    )
    program = site / "toy_server" / "bin" / "any" / "toy"
    program.write_text('#!/bin/sh\ncat "${0%/*}/../../../toy_server.libs/words"\n')
    program.chmod(0o700)
    (site / "toy_server.libs" / "words").chmod(0o600)
    monkeypatch.syspath_prepend(str(site))
    return site


def run_as(account: Account, program: Path) -> str:
    done = subprocess.run([program], capture_output=True, text=True, check=True, cwd="/", **account.spawn_options())
    return done.stdout


def test_the_wheels_have_the_programs():
    for wheel in (programs.POSTGRES, programs.VALKEY):
        assert os.access(programs.find(wheel, wheel.installed()), os.X_OK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers another account")
def test_programs_that_the_account_cannot_reach_are_copied_once_per_version(place: Path, account: Account, toy: Path):
    toy.chmod(0o700)
    (place / "programs" / "toy_server-1.1").mkdir(parents=True)
    (place / "programs" / "toy_server-unfinished").mkdir()
    program = programs.program(TOY, account=account, root=place)
    assert program == place / "programs" / "toy_server-1.2" / "toy_server" / "bin" / "any" / "toy"
    assert run_as(account, program) == "hello\n"
    assert stat.S_IMODE(program.stat().st_mode) & 0o022 == 0
    assert [path.name for path in (place / "programs").iterdir()] == ["toy_server-1.2"]
    copied_at = program.stat().st_ctime_ns
    assert programs.program(TOY, account=account, root=place).stat().st_ctime_ns == copied_at


def test_programs_that_the_account_can_reach_stay_where_they_are(place: Path, account: Account, toy: Path):
    (toy / "toy_server" / "bin" / "any" / "toy").chmod(0o755)
    assert programs.program(TOY, account=account, root=place).is_relative_to(toy)
    assert not (place / "programs").exists()


def test_a_wheel_that_is_not_installed_is_a_setup_error(account: Account, place: Path):
    absent = Wheel("no-such-server", "no_such_server", "no_such_server/bin/it")
    with pytest.raises(SetupError, match="no-such-server is not installed; install it, or set DATABASE_URL"):
        programs.program(absent, account=account, root=place)


def test_a_wheel_without_the_program_is_a_setup_error(toy: Path, account: Account, place: Path):
    (toy / "toy_server" / "bin" / "any" / "toy").unlink()
    with pytest.raises(SetupError, match=r"toy-server 1\.2 has no toy for this platform"):
        programs.program(TOY, account=account, root=place)
