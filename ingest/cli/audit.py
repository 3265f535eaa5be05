"""`cloister audit`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import rich_click as click

from ingest.cli.session import find_tenant, json_option, print_json, say, with_database
from rag.audit import CONTROL, Recorded, audit_line
from rag.domain import TenantId
from rag.store.audit import BEGINNING, list_heads, read_chain
from rag.store.audit_chain import Anchor, Verdict, read_anchor
from rag.store.audit_chain import verify as verify_chains
from rag.store.database import Database

_CHAIN_HELP = "Only this chain: a tenant's slug, the id of one that is gone, or 'control'. [default: all]"


@click.group()
def audit() -> None:
    """Verify and export the audit trail."""


@audit.command()
@click.option("--tenant", metavar="SLUG", help=_CHAIN_HELP)
@click.option("--expect", multiple=True, metavar="HEAD", help="A head that was noted earlier; may be repeated.")
@click.option("--expect-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A head a line.")
@json_option
def verify(tenant: str | None, expect: tuple[str, ...], expect_file: Path | None, as_json: bool) -> None:
    """Hash every event anew, and say which were changed, removed, put in or moved; exit code 1 when any was.

    Prints each chain's head: note it where nobody who can write to the database can, and give it back with --expect.
    """
    noted = [*expect, *(expect_file.read_text("utf-8").split() if expect_file else [])]
    anchors = [read_anchor(text) for text in noted]

    async def work(database: Database) -> list[Verdict]:
        chain = await find_chain(database, tenant)
        return [verdict async for verdict in verify_chains(database, chain=chain, anchors=anchors)]

    verdicts = with_database(work)
    if as_json:
        print_json(verdicts)
    else:
        _print(verdicts)
    if any(verdict.fault_count for verdict in verdicts):
        raise SystemExit(1)


@audit.command()
@click.option("--tenant", metavar="SLUG", help=_CHAIN_HELP)
@click.option("--since", metavar="WHEN", help="Only from then on: an ISO time, or 30d, 12h ago.")
def export(tenant: str | None, since: str | None) -> None:
    """Print events as JSON, one a line, chain by chain; the heads go to stderr, to be noted elsewhere."""
    start = _moment(since) if since else BEGINNING

    async def work(database: Database) -> list[Anchor]:
        chain = await find_chain(database, tenant)
        async with database.control() as connection:
            heads = await list_heads(connection)
        return [
            anchor
            for head in heads
            if chain in {None, head.chain}
            and (anchor := await _export(database, head.chain, head.slug, since=start)) is not None
        ]

    for anchor in with_database(work):
        say(f"head {anchor}")


async def _export(database: Database, chain: TenantId, slug: str | None, *, since: datetime) -> Anchor | None:
    last: Recorded | None = None
    async for last in read_chain(database, chain, since=since):
        click.echo(msgspec.json.encode(audit_line(chain, slug, last)))
    return Anchor(chain, last.sequence, last.hash) if last else None


async def find_chain(database: Database, tenant: str | None) -> TenantId | None:
    """The chain of a slug, of a tenant's id, or the control chain; None for None. Raises `NotFound`."""
    if tenant in {None, "control"}:
        return CONTROL if tenant else None
    try:
        return TenantId(UUID(tenant))
    except ValueError:
        return await find_tenant(database, tenant or "")


def _print(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        name = f"{verdict.chain} ({verdict.tenant})" if verdict.tenant else verdict.chain
        state = f"BROKEN, {verdict.fault_count} faults" if verdict.fault_count else "ok"
        say(f"{name}: {verdict.events} events, {state}")
        for fault in verdict.faults:
            say(f"  {fault.says}")
    for verdict in verdicts:
        if verdict.head:
            click.echo(verdict.head)
    faults = sum(verdict.fault_count for verdict in verdicts)
    say(f"the trail is broken: {faults} faults" if faults else f"verified {len(verdicts)} chains at {_now()}")


def _moment(text: str) -> datetime:
    if text[:-1].isdigit() and text[-1] in "hd":
        return datetime.now(UTC) - (
            timedelta(days=int(text[:-1])) if text[-1] == "d" else timedelta(hours=int(text[:-1]))
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter("write an ISO time, or 12h, 30d", param_hint="--since") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
