"""`cloister purge`."""

import rich_click as click

from ingest.cli.session import find_tenant, json_option, print_json, print_table, with_purger
from rag.domain import TenantId
from rag.purge import Purger
from rag.store.database import Database
from rag.store.tenants import list_tenants


@click.command()
@click.option("--tenant", metavar="SLUG", help="Only this one.")
@json_option
def purge(tenant: str | None, as_json: bool) -> None:
    """Remove now what is kept no longer; workers do so every hour."""

    async def work(database: Database, purger: Purger) -> dict[str, dict[str, int]]:
        if tenant:
            return {tenant: await purger.purge(await find_tenant(database, tenant))}
        async with database.control() as connection:
            found = await list_tenants(connection)
        return {each.slug: await purger.purge(TenantId(each.tenant_id)) for each in found}

    removed = with_purger(work)
    if as_json:
        print_json(removed)
    else:
        rows: list[list[object]] = [[slug, *row] for slug, counts in removed.items() for row in counts.items()]
        print_table(["tenant", "store", "removed"], rows)
