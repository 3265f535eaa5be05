import os
import stat
from pathlib import Path

import pytest

import rag.settings
from rag.embedded.account import Account
from rag.embedded.datadir import (
    default_data_dir,
    make_data_dir,
    make_socket_dir,
    remove_linked_socket_dir,
    require_free_disk,
)
from rag.errors import SetupError


def test_the_default_is_the_configured_folder_and_else_the_settings_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLOISTER_DATA_DIR", "/srv/../srv/cloister")
    assert default_data_dir() == Path("/srv/cloister")
    monkeypatch.delenv("CLOISTER_DATA_DIR")
    assert default_data_dir() == rag.settings.default_data_dir()


def test_a_new_folder_is_closed_to_listing_and_an_old_one_is_left_as_it_is(tmp_path: Path):
    made = make_data_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) & 0o066 == 0
    made.chmod(0o750)
    make_data_dir(made)
    assert stat.S_IMODE(made.stat().st_mode) == 0o750


def test_a_folder_that_cannot_be_made_is_a_setup_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot make .*file/data: .*; set CLOISTER_DATA_DIR"):
        make_data_dir(tmp_path / "file" / "data")


def test_a_disk_with_less_than_the_minimum_is_refused(tmp_path: Path):
    require_free_disk(tmp_path, 1)
    with pytest.raises(SetupError, match=r"has \d+ MB free and the servers need 1000000000000 MB"):
        require_free_disk(tmp_path, 10**18)


def test_sockets_live_in_the_data_folder_closed_to_all_but_the_account(place: Path, account: Account):
    sockets = make_socket_dir(place, account)
    assert sockets == place / "run"
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert sockets.stat().st_uid == account.uid


@pytest.mark.parametrize("name", ["n" * 100, "one,two"])
def test_where_a_path_cannot_serve_run_is_a_link_to_one_that_can(place: Path, account: Account, name: str):
    root = place / name
    root.mkdir()
    sockets = make_socket_dir(root, account)
    assert (root / "run").readlink() == sockets
    assert len(os.fsencode(sockets / ".s.PGSQL.5432")) <= 100
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert sockets.stat().st_uid == account.uid
    assert make_socket_dir(root, account) == sockets  # used again after a crash
    remove_linked_socket_dir(root)
    assert not sockets.exists()
    assert not (root / "run").is_symlink()


def test_a_linked_folder_that_others_can_enter_is_not_trusted(place: Path, account: Account):
    root = place / ("n" * 100)
    root.mkdir()
    first = make_socket_dir(root, account)
    first.chmod(0o755)
    second = make_socket_dir(root, account)
    assert second != first
    first.rmdir()
    remove_linked_socket_dir(root)


def test_the_short_folder_is_under_the_runtime_folder_where_the_account_can_reach_it(
    place: Path, account: Account, monkeypatch: pytest.MonkeyPatch
):
    runtime = place / "r"
    runtime.mkdir()
    account.take(runtime)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    root = place / ("n" * 100)
    root.mkdir()
    assert make_socket_dir(root, account).parent == runtime
    remove_linked_socket_dir(root)
