"""`cloister usage`."""

import rich_click as click

from ingest.cli.session import find_tenant, json_option, print_json, print_table, tenant_option, with_database
from rag.domain import DayOfUse
from rag.store.database import Database
from rag.store.usage import read_usage

_MOST = 10_000


@click.command()
@tenant_option
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How many days back.")
@json_option
def usage(tenant: str, days: int, as_json: bool) -> None:
    """Show a tenant's answers, tokens and cost by day and person."""

    async def work(database: Database) -> list[DayOfUse]:
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner, snapshot=True) as connection:
            return await read_usage(connection, owner, days=days, limit=_MOST)

    found = with_database(work)
    if as_json:
        print_json(found)
        return
    rows: list[list[object]] = [
        [
            str(line.day), line.user or "", str(line.answers), str(line.answers - line.answered),
            str(line.input_tokens), str(line.output_tokens), f"{line.cost_usd:.4f}",
        ]
        for line in found
    ]  # fmt: skip
    print_table(["day", "user", "answers", "of them refused", "tokens in", "out", "USD"], rows)
