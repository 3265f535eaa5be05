"""What a command runs in: the settings, the servers they need, one event loop."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import rich_click as click

from ingest.cli.identity import actor_at_hand
from rag.audit import Act, Event, Resource
from rag.domain import Scope, TenantId
from rag.erasure import Eraser
from rag.purge import Purger, standing_retention
from rag.services import Services, open_cache, open_services, with_embedded_servers
from rag.settings import Settings, load_settings
from rag.store.audit import record
from rag.store.database import Database
from rag.store.tenants import tenant_by_slug
from rag.telemetry import configure_logging
from rag.tenancy import ALL_GROUPS, Principal

T = TypeVar("T")

_PROSE = {"reason", "what to do", "arguments"}
_LEAST_WIDTH = 160

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
tenant_option = click.option("--tenant", required=True, metavar="SLUG", help="The tenant.")


@contextmanager
def ready_settings(*, migrated: bool = True) -> Iterator[Settings]:
    """The settings with a database behind them: the one configured, the one that `up` runs, or one just for this."""
    settings = load_settings()
    configure_logging(settings.log_format, "warning")
    if not settings.embedded or (not migrated and settings.migration_database_url):
        yield settings
        return
    from rag.embedded import open_servers

    with open_servers(settings.data_dir) as endpoints:
        embedded = with_embedded_servers(
            settings, app_url=endpoints.app_url, owner_url=endpoints.owner_url, redis_url=endpoints.redis_url
        )
        if migrated:
            from rag.store.migrate import migrate

            migrate(endpoints.owner_url)
        yield embedded


def with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Run a piece of work that needs the database and nothing else."""
    return with_settings(lambda database, _: work(database))


def with_settings(work: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Run a piece of work that needs the database and how the installation is set up."""

    async def run(settings: Settings) -> T:
        database = await Database.open(settings.secret("database_url"), size=2)
        try:
            return await work(database.acting_for(await actor_at_hand(database)), settings)
        finally:
            await database.close()

    with ready_settings() as settings:
        return asyncio.run(run(settings))


def with_purger(work: Callable[[Database, Purger], Awaitable[T]]) -> T:
    """Run a piece of work that purges."""
    return with_settings(lambda database, settings: work(database, Purger(database, standing_retention(settings))))


def with_eraser(work: Callable[[Database, Eraser], Awaitable[T]]) -> T:
    """Run a piece of work that erases: it needs the cache too."""

    async def run(database: Database, settings: Settings) -> T:
        cache = open_cache(settings)
        try:
            return await work(database, Eraser(database, cache, approvals_required=settings.approvals_required))
        finally:
            await cache.close()

    return with_settings(run)


def with_services(work: Callable[[Services], Awaitable[T]]) -> T:
    """Run a piece of work that needs the encoder, the cache or the queue too."""

    async def run(settings: Settings) -> T:
        async with open_services(settings) as services:
            database = services.database.acting_for(await actor_at_hand(services.database))
            return await work(dataclasses.replace(services, database=database))

    with ready_settings() as settings:
        return asyncio.run(run(settings))


async def find_tenant(database: Database, slug: str) -> TenantId:
    """The tenant of that slug; raises `NotFound`."""
    async with database.control() as connection:
        return TenantId((await tenant_by_slug(connection, slug)).tenant_id)


@asynccontextmanager
async def operator_of(database: Database, slug: str) -> AsyncIterator[Principal]:
    """Whoever can open the database may read all of a tenant: the command line's own principal."""
    tenant = await find_tenant(database, slug)
    async with database.tenant(tenant) as connection:
        await record(connection, tenant, Event(act=Act.TENANT_READ, resource=Resource("tenant", str(tenant), slug)))
    yield Principal(
        tenant=tenant,
        slug=slug,
        key_id=UUID(int=0),
        kind="secret",
        scopes=frozenset(Scope),
        groups=(ALL_GROUPS,),
    )


def say(text: str) -> None:
    """A line for a person, on stderr: stdout is for results."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """A result for a program, on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(columns: list[str], rows: list[list[object]]) -> None:
    """A result for a person, on stdout; an id is never cut short, so that it can be copied."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold" if column in _PROSE else "ignore", no_wrap=column not in _PROSE)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console()
    Console(width=max(console.width, _LEAST_WIDTH)).print(table, crop=False)
