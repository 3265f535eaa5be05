"""`cloister erase`."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import rich_click as click

from ingest.cli.identity import approval_option, operator_option
from ingest.cli.session import json_option, print_json, print_table, ready_settings, say, tenant_option, with_eraser
from rag.domain import Erasure
from rag.erasure import Eraser
from rag.store.database import Database

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def erase() -> None:
    """Erase a tenant, a document or what a person asked, and print the receipt."""


@erase.command()
@click.argument("slug")
@yes_option
@approval_option
@operator_option
@json_option
def tenant(slug: str, yes: bool, approval: UUID | None, as_json: bool) -> None:
    """Erase a tenant with all it has but its audit trail. Interrupted, the same command goes on."""
    _ask(yes, f"Erase the tenant '{slug}' and everything it holds?")
    _run(lambda eraser: eraser.begin_tenant(slug, approval=approval), as_json=as_json)


@erase.command()
@click.argument("collection")
@click.argument("external_id")
@tenant_option
@yes_option
@operator_option
@json_option
def document(collection: str, external_id: str, tenant: str, yes: bool, as_json: bool) -> None:
    """Erase a document, all its versions, and every answer that quotes it."""
    _ask(yes, f"Erase the document '{external_id}' of '{tenant}' and the answers that quote it?")
    _run(lambda eraser: eraser.begin_document(tenant, collection, external_id), as_json=as_json)


@erase.command()
@click.argument("user")
@tenant_option
@yes_option
@operator_option
@json_option
def user(user: str, tenant: str, yes: bool, as_json: bool) -> None:
    """Erase what a person asked and was answered; USER is the `sub` of the person's tokens."""
    _ask(yes, f"Erase every question of '{user}' at '{tenant}', with the answers?")
    _run(lambda eraser: eraser.begin_user(tenant, user), as_json=as_json)


@erase.command()
@click.argument("erasure_id", type=click.UUID)
@json_option
def show(erasure_id: UUID, as_json: bool) -> None:
    """Print the receipt of an erasure again."""

    async def work(_: Database, eraser: Eraser) -> Erasure:
        return await eraser.get(erasure_id)

    _print(with_eraser(work), as_json=as_json)


@erase.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List erasures, newest first."""
    from rag.store.erasure import list_erasures

    async def work(database: Database, _: Eraser) -> list[Erasure]:
        async with database.control() as connection:
            return await list_erasures(connection, limit=limit)

    found = with_eraser(work)
    if as_json:
        print_json(found)
        return
    rows: list[list[object]] = [
        [e.erasure_id, e.kind, e.state, sum(s.removed for s in e.stores), e.started_at, e.tenant_id] for e in found
    ]
    print_table(["erasure", "kind", "state", "rows", "started", "tenant"], rows)


@erase.command()
def vacuum() -> None:
    """Have PostgreSQL drop dead rows and samples of values, as the owner role (MIGRATION_DATABASE_URL)."""
    from rag.store.vacuum import vacuum_all

    with ready_settings() as settings:
        count = vacuum_all(settings.secret("migration_database_url"))
    say(f"{count} tables vacuumed and analysed")


def _ask(yes: bool, question: str) -> None:
    if not yes:
        click.confirm(f"{question} This cannot be undone", abort=True, err=True)


def _run(begin: Callable[[Eraser], Awaitable[Erasure]], *, as_json: bool) -> None:
    async def work(_: Database, eraser: Eraser) -> Erasure:
        return await eraser.run(await begin(eraser))

    _print(with_eraser(work), as_json=as_json)


def _print(erasure: Erasure, *, as_json: bool) -> None:
    if as_json:
        print_json(erasure)
        return
    rows: list[list[object]] = [[s.store, s.removed, s.remaining, s.note] for s in erasure.stores]
    print_table(["store", "removed", "remaining", "note"], rows)
    ended = f"finished {erasure.finished_at:%Y-%m-%d %H:%M:%S %Z}" if erasure.finished_at else f"at '{erasure.step}'"
    say(f"{erasure.kind} erasure {erasure.erasure_id} of tenant {erasure.tenant_id}: {ended}")
    say(f"digest {erasure.digest}")
