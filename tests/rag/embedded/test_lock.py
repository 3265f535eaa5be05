import json
import os
import sys
from pathlib import Path

import pytest

from rag.embedded.lock import Lock, holder
from rag.errors import SetupError


def test_the_second_is_told_who_the_first_is(tmp_path: Path):
    lock = Lock.acquire(tmp_path / "lock")
    with pytest.raises(SetupError, match=rf"process {os.getpid()} \(.*runs the servers of {tmp_path}; stop it"):
        Lock.acquire(tmp_path / "lock")
    lock.release()
    Lock.acquire(tmp_path / "lock").release()


def test_the_holder_is_known_with_its_sockets_only_while_it_holds(tmp_path: Path):
    path = tmp_path / "lock"
    assert holder(path) is None
    lock = Lock.acquire(path)
    starting = holder(path)
    assert starting is not None
    assert (starting.pid, starting.sockets) == (os.getpid(), None)
    lock.publish(tmp_path / "run")
    ready = holder(path)
    assert ready is not None
    assert (ready.since, ready.sockets) == (starting.since, tmp_path / "run")
    lock.release()
    assert holder(path) is None


def test_what_a_dead_process_wrote_does_not_count(tmp_path: Path):
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "command": "init", "since": "then", "sockets": "/run"}))
    assert holder(path) is None
    Lock.acquire(path).release()


def test_half_a_record_is_an_unknown_holder(tmp_path: Path):
    lock = Lock.acquire(tmp_path / "lock")
    (tmp_path / "lock").write_text('{"pid": 1')
    assert holder(tmp_path / "lock") is None
    with pytest.raises(SetupError, match="another process runs the servers"):
        Lock.acquire(tmp_path / "lock")
    lock.release()


def test_the_record_keeps_the_subcommand_and_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cloister", "ingest", "--key", "sk_secret"])
    lock = Lock.acquire(tmp_path / "lock")
    assert json.loads((tmp_path / "lock").read_text())["command"] == "cloister ingest"
    lock.release()


def test_a_place_that_cannot_be_written_is_a_setup_error(tmp_path: Path):
    with pytest.raises(SetupError, match=r"cannot open .*set CLOISTER_DATA_DIR"):
        Lock.acquire(tmp_path / "absent" / "lock")
