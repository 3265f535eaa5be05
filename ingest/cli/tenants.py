"""`cloister tenant`."""

from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from ingest.cli.identity import approval_option, operator_option
from ingest.cli.session import find_tenant, json_option, print_json, print_table, say, with_database, with_settings
from rag.domain import Limits, Tenant
from rag.settings import Settings
from rag.store import tenants
from rag.store.approvals import require_approval
from rag.store.database import Database
from rag.store.limits import change_limits, read_limits


class _Quota(click.ParamType[int | str]):
    """A whole number from 0 on, or the word 'default'."""

    name = "N|default"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return "default" if value == "default" else click.IntRange(0, 10_000_000).convert(value, param, ctx)


QUOTA = _Quota()


@click.group()
def tenant() -> None:
    """Create, list, show and delete tenants, and set their limits."""


@tenant.command()
@click.argument("slug")
@click.option("--name", help="What people call it; the slug when left out.")
@json_option
def create(slug: str, name: str | None, as_json: bool) -> None:
    """Make a tenant with an empty corpus."""

    async def work(database: Database) -> Tenant:
        async with database.control() as connection:
            return await tenants.create_tenant(connection, slug, name=name)

    made = with_database(work)
    if as_json:
        print_json(made)
    else:
        click.echo(made.slug)
        say(f"next: cloister key create --tenant {made.slug}")


@tenant.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List every tenant with its counts."""

    async def work(database: Database) -> list[Tenant]:
        async with database.control() as connection:
            return await tenants.list_tenants(connection)

    found = with_database(work)
    if as_json:
        print_json(found)
    else:
        _print(found)


@tenant.command()
@click.argument("slug")
@json_option
def show(slug: str, as_json: bool) -> None:
    """Show one tenant."""

    async def work(database: Database) -> Tenant:
        async with database.control() as connection:
            return await tenants.tenant_by_slug(connection, slug)

    found = with_database(work)
    if as_json:
        print_json(found)
    else:
        _print([found])


@tenant.command()
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Do not ask.")
@approval_option
@operator_option
@json_option
def delete(slug: str, yes: bool, approval: UUID | None, as_json: bool) -> None:
    """Delete a tenant with all its documents, keys, answers and jobs; its audit trail stays."""
    if not yes:
        click.confirm(f"Delete '{slug}' and everything it holds? This cannot be undone", abort=True, err=True)

    async def work(database: Database, settings: Settings) -> None:
        found = await find_tenant(database, slug)
        act = tenants.deletion(found)
        async with database.control() as connection:
            await require_approval(
                connection, act, by=database.by, approval=approval, required=settings.approvals_required
            )
            await tenants.delete_tenant(connection, found)

    with_settings(work)
    if as_json:
        print_json({"deleted": slug})
    else:
        say(f"deleted {slug}")


@tenant.command()
@click.argument("slug")
@click.option("--tenant-units", type=QUOTA, help="Units a minute of the whole tenant.")
@click.option("--key-units", type=QUOTA, help="Units a minute of each key.")
@click.option("--user-units", type=QUOTA, help="Units a minute of each user of a token.")
@click.option("--concurrency", type=QUOTA, help="Requests at a time, in each API process.")
@json_option
def limits(slug: str, as_json: bool, **options: int | str | None) -> None:
    """Show a tenant's own limits, or change them: a number, 0 for no limit, or 'default'."""
    change = {name: None if value == "default" else int(value) for name, value in options.items() if value is not None}

    async def work(database: Database) -> Limits:
        found = await find_tenant(database, slug)
        async with database.tenant(found) as connection:
            if change:
                return await change_limits(connection, found, change)
            return await read_limits(connection, found)

    own = msgspec.structs.asdict(with_database(work))
    if as_json:
        print_json(own)
    else:
        print_table(["limit", "value"], [[name, "default" if value is None else value] for name, value in own.items()])


def _print(found: list[Tenant]) -> None:
    rows: list[list[object]] = [
        [t.slug, t.name, t.documents, t.chunks, t.created_at.date(), t.tenant_id] for t in found
    ]
    print_table(["slug", "name", "documents", "chunks", "since", "id"], rows)
