"""`cloister tenant`."""

import rich_click as click

from ingest.cli.session import find_tenant, json_option, print_json, print_table, say, with_database
from rag.domain import Tenant
from rag.store import tenants
from rag.store.database import Database


@click.group()
def tenant() -> None:
    """Create, list, show and delete tenants."""


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
@json_option
def delete(slug: str, yes: bool, as_json: bool) -> None:
    """Delete a tenant with all its documents, keys, answers and jobs."""
    if not yes:
        click.confirm(f"Delete '{slug}' and everything it holds? This cannot be undone", abort=True, err=True)

    async def work(database: Database) -> None:
        found = await find_tenant(database, slug)
        async with database.control() as connection:
            await tenants.delete_tenant(connection, found)

    with_database(work)
    if as_json:
        print_json({"deleted": slug})
    else:
        say(f"deleted {slug}")


def _print(found: list[Tenant]) -> None:
    rows: list[list[object]] = [
        [t.slug, t.name, t.documents, t.chunks, t.created_at.date(), t.tenant_id] for t in found
    ]
    print_table(["slug", "name", "documents", "chunks", "since", "id"], rows)
