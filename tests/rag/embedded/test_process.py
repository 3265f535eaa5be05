import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rag.embedded.account import Account
from rag.embedded.process import ServerProcess, clean_environment, command_of, rotate
from rag.errors import SetupError


def run(script: str, log: Path, account: Account) -> ServerProcess:
    return ServerProcess(["/bin/sh", "-c", script], account=account, stop_signal=signal.SIGINT, log=log)


@pytest.fixture
def log(place: Path) -> Path:
    return place / "server.log"


def test_a_server_is_stopped_by_its_own_signal(log: Path, account: Account, eventually):
    server = run("trap 'echo bye; exit' INT; echo up; while :; do sleep 0.05; done", log, account)
    assert eventually(lambda: server.log_tail() == "up")
    server.require_running()
    server.stop(timeout=20)
    assert server.log_tail() == "up\nbye"
    server.stop(timeout=20)


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_server_that_does_not_listen_is_killed(log: Path, account: Account, eventually, in_thread: bool):
    started: list[ServerProcess] = []
    script = "trap '' INT; echo $$; while :; do sleep 0.05; done"
    starter = threading.Thread(target=lambda: started.append(run(script, log, account)))
    if in_thread:
        starter.start()
        starter.join()
    else:
        starter.run()
    server = started[0]
    assert eventually(lambda: server.log_tail() != "")
    pid = int(server.log_tail())
    assert command_of(pid)
    server.stop(timeout=0.1)
    assert eventually(lambda: not command_of(pid))


def test_a_server_that_ends_by_itself_is_reported_with_what_it_said_this_time(log: Path, account: Account, eventually):
    log.write_text("an old complaint\n")
    server = run("echo no room; exit 3", log, account)

    def ended() -> bool:
        try:
            server.require_running()
        except SetupError:
            return True
        return False

    assert eventually(ended)
    with pytest.raises(SetupError) as caught:
        server.require_running()
    assert str(caught.value) == f"sh ended with status 3; {log} ends:\nno room"
    server.stop(timeout=1)


def test_a_log_that_has_grown_is_set_aside_once(tmp_path: Path):
    log = tmp_path / "server.log"
    assert rotate(log) == 0
    log.write_bytes(b"x" * 10_000_000)
    assert rotate(log) == 10_000_000
    log.write_bytes(b"y" * 10_000_001)
    assert rotate(log) == 0
    assert not log.exists()
    assert (tmp_path / "server.log.1").stat().st_size == 10_000_001


def test_the_command_of_a_process_is_read_and_a_corpse_has_none():
    assert Path(command_of(os.getpid())[0]).name.startswith("python")
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet buried
        assert command_of(process.pid) == [] or "defunct" in " ".join(command_of(process.pid))
        process.wait()
        assert command_of(process.pid) == []


def test_no_variable_of_ours_reaches_a_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    assert set(clean_environment()) == {"PATH", "LC_ALL", "PG_GRANDPARENT_PID"}
