"""`cloister space`."""

from uuid import UUID

import rich_click as click

from ingest.cli.identity import approval_option, operator_option
from ingest.cli.session import find_tenant, json_option, print_json, print_table, say, with_database, with_settings
from rag.settings import Settings
from rag.store.approvals import require_approval
from rag.store.database import Database
from rag.store.spaces import EmbeddingSpace, activate_space, activation, list_spaces


@click.group()
def space() -> None:
    """List embedding spaces, and make one the active one."""


@space.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List embedding spaces: model, dimensions, the tenants active on each, and how many chunks have a vector there."""

    async def work(database: Database) -> list[EmbeddingSpace]:
        async with database.control(timeout_s=300) as connection:
            return await list_spaces(connection)

    found = with_database(work)
    if as_json:
        print_json(found)
        return
    rows: list[list[object]] = [
        [s.space, s.model, s.revision, s.dimensions, f"{s.embedded} of {s.chunks}", ", ".join(s.tenants)] for s in found
    ]
    print_table(["space", "model", "revision", "dimensions", "chunks embedded", "active for"], rows)


@space.command()
@click.argument("name")
@click.option("--tenant", metavar="SLUG", help="Only for this tenant. [default: for all]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@approval_option
@operator_option
@json_option
def activate(name: str, tenant: str | None, yes: bool, approval: UUID | None, as_json: bool) -> None:
    """Search in this space from now on; refused unless every chunk has its vector there."""
    if not yes:
        click.confirm(f"Make '{name}' the active space of {tenant or 'all tenants'}?", abort=True, err=True)

    async def work(database: Database, settings: Settings) -> list[str]:
        owner = await find_tenant(database, tenant) if tenant else None
        async with database.control(timeout_s=300) as connection:
            act, required = await activation(connection, name, owner), settings.approvals_required
            await require_approval(connection, act, by=database.by, approval=approval, required=required)
            return await activate_space(connection, name, tenant=owner)

    flipped = with_settings(work)
    if as_json:
        print_json({"space": name, "tenants": flipped})
    else:
        say(f"{len(flipped)} tenants moved to '{name}'" if flipped else f"all were active on '{name}' already")
