"""`cloister serve` and `cloister worker`: the two long-running processes."""

import rich_click as click

from ingest.cli.address import published
from ingest.cli.session import ready_settings
from rag.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on. [default: CLOISTER_HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port. [default: CLOISTER_PORT or 8000]")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
def serve(host: str | None, port: int | None, workers: int) -> None:
    """Run the HTTP API until it is told to stop."""
    import os

    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes

    with ready_settings() as settings:
        # The processes that granian starts read their settings from the environment, as this one did.
        os.environ.update(environment_of(settings))
        address = (host or settings.host, port or settings.port)
        server = Granian(
            "rag.app:create_app",
            factory=True,
            address=address[0],
            port=address[1],
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            loop=Loops.uvloop,
            runtime_mode=RuntimeModes.st,
            workers=workers,
            workers_kill_timeout=round(settings.drain_timeout_s) + 5,
            log_level="warning",  # type: ignore[arg-type] # granian's enum of strings
        )
        with published(settings.data_dir, *address):
            server.serve()


@click.command()
@click.option("--until-idle", is_flag=True, help="Return when the queue is empty.")
def worker(until_idle: bool) -> None:
    """Run an ingestion worker until it is told to stop."""
    import asyncio

    from ingest.worker import work, yield_to_others
    from rag.services import open_services
    from rag.telemetry import configure_logging

    async def run(settings: Settings) -> None:
        async with open_services(settings) as services:
            await work(services, until_idle=until_idle, signals=True)

    yield_to_others()
    with ready_settings() as settings:
        configure_logging(settings.log_format, settings.log_level)
        asyncio.run(run(settings))


def environment_of(settings: Settings) -> dict[str, str]:
    """The connection settings, and what follows from them, as the environment variables that a child process reads."""
    from rag.settings import ENVIRONMENT, Secret

    found = {}
    for field in ("database_url", "migration_database_url", "redis_url"):
        value = getattr(settings, field)
        if isinstance(value, Secret):
            found[ENVIRONMENT[field]] = value.reveal()
    if settings.approvals:
        found[ENVIRONMENT["approvals"]] = settings.approvals
    return found
