"""`cloister up`: everything on this machine, and nothing of it left when it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from types import FrameType
from typing import Final

import rich_click as click

from ingest.cli.run import environment_of
from ingest.cli.session import say
from rag.errors import SetupError
from rag.services import with_embedded_servers
from rag.settings import Settings, load_settings
from rag.telemetry import configure_logging

_START_S: Final = 60.0
_STOP_S: Final = 30.0
_LOOK_S: Final = 0.3


@click.command()
@click.option("--demo", is_flag=True, help="Seed two tenants with sample content, once.")
@click.option("--host", help="Address to listen on. [default: CLOISTER_HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port. [default: CLOISTER_PORT or 8000]")
def up(demo: bool, host: str | None, port: int | None) -> None:
    """Run PostgreSQL, Valkey, the API and a worker on this machine, until Ctrl-C."""
    from rag.embedded import start
    from rag.store.migrate import migrate

    settings = load_settings()
    configure_logging(settings.log_format, "warning")
    if not settings.embedded:
        raise SetupError("DATABASE_URL is set: run 'cloister serve' and 'cloister worker', or unset it for 'up'")
    address = (host or settings.host, port or settings.port)
    # A SIGTERM ends the waiting below as Ctrl-C does; whatever else ends us, the children's leash ends them.
    signal.signal(signal.SIGTERM, _interrupt)
    say(f"starting PostgreSQL and Valkey in {settings.data_dir}")
    with start(settings.data_dir) as servers:
        _require_free(*address)
        for warning in servers.warnings:
            say(f"warning: {warning}")
        migrate(servers.owner_url, say=say)
        ready = with_embedded_servers(
            settings, app_url=servers.app_url, owner_url=servers.owner_url, redis_url=servers.redis_url
        )
        try:
            _run(ready, address, demo=demo)
        except KeyboardInterrupt:
            say("stopped; the data stays in " + str(settings.data_dir))


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SetupError(
                f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port"
            ) from error


def _run(settings: Settings, address: tuple[str, int], *, demo: bool) -> None:
    host, port = address
    environment = {**os.environ, **environment_of(settings), "CLOISTER_DATA_DIR": str(settings.data_dir)}
    serve = ["serve", "--host", host, "--port", str(port)]
    with _child(serve, environment) as api, _child(["worker"], environment) as worker:
        url = f"http://{host}:{port}"
        say("starting the API and a worker")
        _wait_until_ready(f"{url}/health/ready", api)
        if demo:
            from ingest.cli.demo import seed

            click.echo(seed(settings, url))
        else:
            click.echo(f"Cloister answers at {url} (API reference: {url}/schema)")
            say("next: cloister tenant create SLUG; cloister key create --tenant SLUG")
        say("Ctrl-C stops it.")
        _wait_for_end({"API": api, "worker": worker})


@contextmanager
def _child(arguments: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    leash = [str(files("rag.embedded") / "leash.py"), "pipe", str(os.getpid()), str(int(signal.SIGTERM))]
    account = [str(os.geteuid()), str(os.getegid())]
    program = [sys.executable, "-m", "ingest.cli", *arguments]
    child = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-I", "-S", *leash, *account, *program],
        stdin=subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _wait_until_ready(url: str, api: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if api.poll() is not None:
            raise SetupError("the API ended at start; its reason stands above (is the port taken?)")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(_LOOK_S)
    raise SetupError(f"the API did not become ready within {_START_S:.0f} s: {url}")


def _wait_for_end(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                raise SetupError(f"the {name} ended with status {child.returncode}; its reason stands above")
        time.sleep(_LOOK_S)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
