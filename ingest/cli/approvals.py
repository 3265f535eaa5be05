"""`cloister approval`."""

from uuid import UUID

import rich_click as click

from ingest.cli.identity import operator_option
from ingest.cli.session import json_option, print_json, print_table, say, with_database, with_settings
from rag.settings import Settings
from rag.store.approvals import Approval, ApprovalState, Decision, decide_approval, list_approvals
from rag.store.database import Database

_STATES = ["pending", "granted", "denied", "used", "expired"]


@click.group()
def approval() -> None:
    """List, grant and deny requests for privileged acts."""


@approval.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_(state: ApprovalState | None, limit: int, as_json: bool) -> None:
    """List requests, newest first."""

    async def work(database: Database, settings: Settings) -> tuple[list[Approval], bool]:
        async with database.control() as connection:
            return await list_approvals(connection, state=state, limit=limit), settings.approvals_required

    found, required = with_settings(work)
    if not required:
        say("approvals are OFF: privileged acts need none (CLOISTER_APPROVALS)")
    if as_json:
        print_json({"mode": "required" if required else "off", "data": found})
    else:
        _print(found)


@approval.command()
@click.argument("approval_id", type=click.UUID)
@operator_option
@json_option
def grant(approval_id: UUID, as_json: bool) -> None:
    """Let another operator do what was asked for, once; nobody grants what they asked for themselves."""
    _decide(approval_id, "granted", as_json=as_json)


@approval.command()
@click.argument("approval_id", type=click.UUID)
@operator_option
@json_option
def deny(approval_id: UUID, as_json: bool) -> None:
    """Refuse a request, or take one's own back."""
    _decide(approval_id, "denied", as_json=as_json)


def _decide(approval_id: UUID, decision: Decision, *, as_json: bool) -> None:
    async def work(database: Database) -> Approval:
        async with database.control() as connection:
            return await decide_approval(connection, approval_id, decision, by=database.by)

    decided = with_database(work)
    if as_json:
        print_json(decided)
    else:
        say(f"{decision} {approval_id}: {decided.act}, as {decided.decided_by}")


def _print(found: list[Approval]) -> None:
    rows: list[list[object]] = [
        [a.approval_id, a.state, a.act, _arguments(a), a.requested_by, a.expires_at.isoformat(timespec="minutes")[:16]]
        for a in found
    ]
    print_table(["approval", "state", "act", "arguments", "asked by", "expires"], rows)


def _arguments(found: Approval) -> str:
    subject = {"tenant": found.subject} if found.subject else {}
    return ", ".join(f"{name}={value}" for name, value in {**subject, **found.arguments}.items())
