import socket
import threading
from pathlib import Path

import pytest

from rag.embedded import programs, valkey
from rag.embedded.account import Account
from rag.embedded.datadir import make_socket_dir
from rag.embedded.process import ServerProcess
from rag.errors import SetupError


def start(place: Path, account: Account) -> ServerProcess:
    program = programs.program(programs.VALKEY, account=account, root=place)
    return valkey.start(program, sockets=place / "run", account=account, log=place / "valkey.log")


def test_it_answers_from_ready_to_stop(place: Path, account: Account):
    sockets = make_socket_dir(place, account)
    assert not valkey.answers(sockets)
    server = start(place, account)
    valkey.wait_until_ready(server, sockets)
    assert valkey.answers(sockets)
    server.stop(timeout=20)
    assert not valkey.answers(sockets)


def test_the_path_that_a_dead_one_left_is_no_obstacle(place: Path, account: Account):
    sockets = make_socket_dir(place, account)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(sockets / "valkey.sock"))
    server = start(place, account)
    valkey.wait_until_ready(server, sockets)
    server.stop(timeout=20)


def test_a_start_waits_for_one_that_is_ending(place: Path, account: Account):
    sockets = make_socket_dir(place, account)
    ending = start(place, account)
    valkey.wait_until_ready(ending, sockets)
    stopper = threading.Timer(0.2, ending.stop, [20])
    stopper.start()
    server = start(place, account)
    stopper.join()
    valkey.wait_until_ready(server, sockets)
    assert (sockets / "valkey.sock").exists()  # the first did not take the second's path with it
    server.stop(timeout=20)


def test_one_that_cannot_start_says_why(place: Path, account: Account):
    sockets = make_socket_dir(place, account)
    (sockets / "valkey.sock").mkdir()
    server = start(place, account)
    with pytest.raises(SetupError, match=r"valkey-server ended with status \d(.|\n)*Failed opening Unix socket"):
        valkey.wait_until_ready(server, sockets)
    server.stop(timeout=1)
