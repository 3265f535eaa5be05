import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from rag.embedded.account import Account, server_account
from rag.errors import SetupError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers another account")


def test_the_account_is_never_root_and_is_real(place: Path):
    account = server_account(place / "postgres")
    assert account.uid != 0
    assert pwd.getpwuid(account.uid).pw_name == account.name


@as_root
def test_a_program_run_as_the_account_has_its_rights_and_no_more(account: Account):
    shown = subprocess.run(["id", "-u"], capture_output=True, text=True, check=True, cwd="/", **account.spawn_options())
    groups = subprocess.run(
        ["id", "-G"], capture_output=True, text=True, check=True, cwd="/", **account.spawn_options()
    )
    assert int(shown.stdout) == account.uid
    assert groups.stdout.split() == [str(account.gid)]


@as_root
def test_root_runs_an_existing_cluster_as_its_owner(place: Path):
    cluster = place / "postgres"
    cluster.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(cluster, nobody.pw_uid, nobody.pw_gid)
    assert server_account(cluster) == Account("nobody", nobody.pw_uid, nobody.pw_gid)
    os.chown(cluster, 54321, 54321)
    assert server_account(cluster) == Account("54321", 54321, 54321)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may run anybody's cluster")
def test_a_cluster_of_somebody_else_is_refused():
    with pytest.raises(SetupError, match="belongs to `root`; run as that user"):
        server_account(Path("/etc"))


@as_root
def test_the_first_closed_folder_is_found_and_an_open_way_is_none(place: Path, account: Account):
    (place / "open" / "closed" / "deep").mkdir(parents=True)
    (place / "open" / "closed").chmod(0o700)
    assert account.stopped_at(place / "open") is None
    assert account.stopped_at(place / "open" / "closed" / "deep") == place / "open" / "closed"
    with pytest.raises(SetupError, match=f"runs as `{account.name}`, and {place}/open/closed is closed"):
        account.require_way_to(place / "open" / "closed" / "deep")


def test_a_taken_folder_belongs_to_the_account_alone(place: Path, account: Account):
    (place / "taken").mkdir(mode=0o755)
    account.take(place / "taken")
    found = (place / "taken").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (account.uid, 0o700)
