import os
import subprocess
from pathlib import Path

import pytest

from rag import embedded
from rag.embedded import programs
from rag.embedded.postgres import disown_stale_pid_file, is_ready, wait_for_predecessor
from rag.errors import SetupError


def test_a_live_server_on_the_cluster_is_waited_for_and_never_signalled(place: Path):
    data = place / "data"
    with embedded.start(data, durable=False):
        pid = int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        with pytest.raises(SetupError, match=f"runs on {data}/postgres by itself; stop it: kill -INT {pid}"):
            wait_for_predecessor(data / "postgres", timeout=0)
        program = programs.find(programs.POSTGRES, programs.POSTGRES.installed())
        assert is_ready(program, data / "run")
    wait_for_predecessor(data / "postgres", timeout=0)
    assert not is_ready(program, data / "run")


def test_another_process_with_that_number_is_not_waited_for(tmp_path: Path):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "postmaster.pid").write_text(f"{stranger.pid}\n")
        wait_for_predecessor(tmp_path, timeout=0)
        stranger.kill()


def test_a_postgres_of_another_cluster_is_not_waited_for(place: Path):
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    with embedded.start(place / "data", durable=False):
        (elsewhere / "postmaster.pid").write_text((place / "data" / "postgres" / "postmaster.pid").read_text())
        wait_for_predecessor(elsewhere, timeout=0)


def test_a_stale_pid_file_is_signed_and_keeps_its_shared_memory_key(tmp_path: Path):
    file = tmp_path / "postmaster.pid"
    file.write_text("4194304\n/data\n1700000000\n5432\n/run\n\n  17  42\nready   \n")
    disown_stale_pid_file(tmp_path)
    assert file.read_text() == f"{os.getpid()}\n/data\n1700000000\n5432\n/run\n\n  17  42\nready   \n"


@pytest.mark.parametrize("content", ["", "\n", "half a li"])
def test_a_torn_pid_file_is_removed(tmp_path: Path, content: str):
    (tmp_path / "postmaster.pid").write_text(content)
    disown_stale_pid_file(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_no_pid_file_is_nothing_to_do(tmp_path: Path):
    disown_stale_pid_file(tmp_path)
    wait_for_predecessor(tmp_path, timeout=0)


def test_signing_follows_no_link(tmp_path: Path):
    (tmp_path / "precious").write_text("1\nkept\n")
    (tmp_path / "postmaster.pid").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        disown_stale_pid_file(tmp_path)
    assert (tmp_path / "precious").read_text() == "1\nkept\n"
