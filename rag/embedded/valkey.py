"""Valkey as a cache: bounded in memory, nothing on disk, reached by its Unix socket only."""

import signal
import socket
import time
from pathlib import Path

from rag.embedded.account import Account
from rag.embedded.endpoints import VALKEY_SOCKET
from rag.embedded.process import ServerProcess
from rag.errors import SetupError

STOP_TIMEOUT_S = 5.0
_READY_TIMEOUT_S = 15.0
_PREDECESSOR_TIMEOUT_S = 5.0

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
    "save": "",
    "appendonly": "no",
    "maxclients": "1000",
    "daemonize": "no",
}


def start(program: Path, *, sockets: Path, account: Account, log: Path) -> ServerProcess:
    """Start the server, not yet ready; `SetupError` if one that nobody holds still answers there."""
    _wait_for_predecessor(sockets)
    settings = _SETTINGS | {"unixsocket": str(sockets / VALKEY_SOCKET), "dir": str(sockets)}
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return ServerProcess([str(program), *options], account=account, stop_signal=signal.SIGTERM, log=log)


def wait_until_ready(server: ServerProcess, sockets: Path) -> None:
    """Return when the server answers; `SetupError` if it ends first or takes 15 seconds."""
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not answers(sockets):
        server.require_running()
        if time.monotonic() > deadline:
            raise SetupError(f"Valkey does not answer after {_READY_TIMEOUT_S:.0f} s:\n{server.log_tail()}")
        time.sleep(0.01)


def answers(sockets: Path) -> bool:
    """Whether a Valkey answers a PING on its socket in this folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(3)
        try:
            connection.connect(str(sockets / VALKEY_SOCKET))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _wait_for_predecessor(sockets: Path) -> None:
    # A server that is ending removes its socket's path last, and would remove ours.
    deadline = time.monotonic() + _PREDECESSOR_TIMEOUT_S
    while answers(sockets):
        if time.monotonic() > deadline:
            raise SetupError(f"a Valkey that Cloister did not start answers in {sockets}")
        time.sleep(0.02)
