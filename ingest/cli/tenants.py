"""`cloister tenant`."""

import re
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
import rich_click as click

from ingest.cli.identity import approval_option, operator_option
from ingest.cli.session import (
    find_tenant,
    json_option,
    print_json,
    print_table,
    say,
    with_database,
    with_eraser,
    with_purger,
)
from rag.domain import Erasure, Limits, Retention, Tenant
from rag.erasure import Eraser
from rag.purge import Purger, effective
from rag.store import retention as store
from rag.store import tenants
from rag.store.database import Database
from rag.store.limits import change_limits, read_limits


class _Quota(click.ParamType[int | str]):
    """A whole number from 0 on, or the word 'default'."""

    name = "N|default"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return "default" if value == "default" else click.IntRange(0, 10_000_000).convert(value, param, ctx)


QUOTA = _Quota()

_MOST_DAYS: Final = 36_500


class _Days(click.ParamType[int | str]):
    """A time in whole days: `30d`, `12w`, `forever`, or `default` for what the installation says."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int) or value == "default":
            return value
        if value == "forever":
            return 0
        match = re.fullmatch(r"(\d{1,5})([dw])", str(value))
        days = int(match[1]) * {"d": 1, "w": 7}[match[2]] if match else 0
        if not 1 <= days <= _MOST_DAYS:
            self.fail(f"'{value}' is none of 30d, 12w, forever and default", param, ctx)
        return days


DAYS: Final = _Days()


@click.group()
def tenant() -> None:
    """Create, list, show and delete tenants, and set their limits and how long they keep things."""


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
    """Erase a tenant with all it has but its audit trail; the same as `cloister erase tenant`."""
    if not yes:
        click.confirm(f"Delete '{slug}' and everything it holds? This cannot be undone", abort=True, err=True)

    async def work(_: Database, eraser: Eraser) -> Erasure:
        return await eraser.run(await eraser.begin_tenant(slug, approval=approval))

    receipt = with_eraser(work)
    if as_json:
        print_json({"deleted": slug, "erasure": receipt.erasure_id})
    else:
        say(f"deleted {slug}; receipt: cloister erase show {receipt.erasure_id}")


@tenant.command()
@click.argument("slug")
@click.option("--answers", "answers_days", type=DAYS, help="Questions and answers: 30d, 12w, forever or default.")
@click.option("--jobs", "jobs_days", type=DAYS, help="Jobs that have ended.")
@click.option("--versions", "versions_days", type=DAYS, help="Superseded versions that no answer quotes.")
@operator_option
@json_option
def retention(slug: str, as_json: bool, **given: int | Literal["default"] | None) -> None:
    """Show for how long a tenant keeps things, and change what is given."""
    change = {name: None if days == "default" else days for name, days in given.items() if days is not None}

    async def work(database: Database, purger: Purger) -> tuple[Retention, dict[str, int]]:
        found = await find_tenant(database, slug)
        async with database.tenant(found) as connection:
            if change:
                await store.change_retention(connection, found, change)
            chosen = await store.get_retention(connection, found)
        return chosen, effective(chosen, purger.standing)

    chosen, days = with_purger(work)
    if as_json:
        print_json({"chosen": chosen, "in_force": {**dict.fromkeys(store.STORES, 0), **days}})
        return
    own = msgspec.structs.asdict(chosen)
    rows: list[list[object]] = [
        [what.removesuffix("_days"), days.get(what, "forever"), "default" if own[what] is None else "chosen"]
        for what in store.STORES
    ]
    print_table(["what", "days", "because"], rows)


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
