"""Start PostgreSQL and Valkey on a data folder, find the ones that run there, stop them."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rag.embedded import postgres, programs, valkey
from rag.embedded.account import Account, server_account
from rag.embedded.datadir import (
    make_data_dir,
    make_socket_dir,
    remove_linked_socket_dir,
    require_free_disk,
)
from rag.embedded.endpoints import Endpoints
from rag.embedded.lock import Lock, holder
from rag.embedded.sizing import Machine, postgres_settings
from rag.errors import SetupError

# How long a command waits for servers that another process is starting.
_ATTACH_PATIENCE_S = 30.0


class EmbeddedServers:
    """The servers that this process runs; `start` makes them, and leaving the context stops them.

    `warnings` says what is missing that the service can do without, and why.
    """

    def __init__(self, endpoints: Endpoints, warnings: tuple[str, ...], running: ExitStack) -> None:
        self.endpoints = endpoints
        self.warnings = warnings
        self._running = running
        self._process = os.getpid()

    @property
    def admin_url(self) -> str:
        """The superuser, in the database `postgres`."""
        return self.endpoints.admin_url

    @property
    def owner_url(self) -> str:
        """`cloister_owner`, in the database `cloister`."""
        return self.endpoints.owner_url

    @property
    def app_url(self) -> str:
        """`cloister_app`, in the database `cloister`."""
        return self.endpoints.app_url

    @property
    def redis_url(self) -> str | None:
        """Valkey, or None where it does not run."""
        return self.endpoints.redis_url

    def stop(self) -> None:
        """Stop the servers in order and give up the data folder; a second time or in a fork, do nothing."""
        if os.getpid() == self._process:
            self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(data_dir: Path, *, durable: bool = True) -> EmbeddedServers:
    """Start PostgreSQL and Valkey on a data folder, made if it is not there; the caller stops them.

    They end with this process, however it ends. Not `durable` is faster and loses data when the machine
    crashes: for tests. `SetupError` when another process runs them, or the machine is not fit; a Valkey
    that does not start is a warning and no more.
    """
    root = make_data_dir(data_dir)
    with ExitStack() as running:
        lock = Lock.acquire(root / "lock")
        running.callback(lock.release)
        require_free_disk(root)
        account = server_account(root / "postgres")
        account.require_way_to(root)
        sockets = make_socket_dir(root, account)
        running.callback(remove_linked_socket_dir, root)
        _start_postgres(running, root, sockets, account, durable=durable)
        warnings = _start_valkey(running, root, sockets, account)
        lock.publish(sockets)
        endpoints = Endpoints.at(sockets, cache=not warnings)
        return EmbeddedServers(endpoints, warnings, running.pop_all())


def attach(data_dir: Path) -> Endpoints | None:
    """Find the servers that run on a data folder, or None when none answer; they stay their owner's."""
    held = holder(data_dir.expanduser().resolve() / "lock")
    if held is None or held.sockets is None:
        return None
    site = programs.POSTGRES.installed()
    if not postgres.is_ready(programs.find(programs.POSTGRES, site), held.sockets):
        return None
    return Endpoints.at(held.sockets, cache=valkey.answers(held.sockets))


@contextmanager
def open_servers(data_dir: Path, *, durable: bool = True) -> Iterator[Endpoints]:
    """Use the servers that run on a data folder, or else run them for as long as the context lasts."""
    endpoints = _attach_patiently(data_dir)
    if endpoints is not None:
        yield endpoints
        return
    with start(data_dir, durable=durable) as servers:
        yield servers.endpoints


@contextmanager
def temporary_servers() -> Iterator[EmbeddedServers]:
    """Run servers on an empty folder of their own, not durable, and delete it afterwards."""
    root = Path(tempfile.mkdtemp(prefix="cloister-"))
    root.chmod(0o711)  # by root's hand it is the server account that must pass; what is inside is closed
    try:
        with start(root, durable=False) as servers:
            yield servers
    finally:
        shutil.rmtree(root)


def _start_postgres(running: ExitStack, root: Path, sockets: Path, account: Account, *, durable: bool) -> None:
    program = programs.program(programs.POSTGRES, account=account, root=root)
    cluster = postgres.Postgres(cluster=root / "postgres", sockets=sockets, program=program, account=account)
    cluster.prepare(durable=durable)
    settings = postgres_settings(Machine.here(), durable=durable)
    server = cluster.start(settings, log=root / "log" / "postgres.log")
    running.callback(server.stop, postgres.STOP_TIMEOUT_S)
    cluster.wait_until_ready(server)
    cluster.bootstrap()


def _start_valkey(running: ExitStack, root: Path, sockets: Path, account: Account) -> tuple[str, ...]:
    with ExitStack() as attempt:
        try:
            program = programs.program(programs.VALKEY, account=account, root=root)
            server = valkey.start(program, sockets=sockets, account=account, log=root / "log" / "valkey.log")
            attempt.callback(server.stop, valkey.STOP_TIMEOUT_S)
            valkey.wait_until_ready(server, sockets)
        except (SetupError, OSError) as error:
            return (f"Valkey does not run, so nothing is cached: {error}",)
        running.push(attempt.pop_all())
        return ()


def _attach_patiently(data_dir: Path) -> Endpoints | None:
    root = data_dir.expanduser().resolve()
    deadline = time.monotonic() + _ATTACH_PATIENCE_S
    while (endpoints := attach(root)) is None:
        if holder(root / "lock") is None or time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return endpoints
