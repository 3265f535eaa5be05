"""`cloister key`."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import rich_click as click

from ingest.cli.session import find_tenant, json_option, print_json, print_table, say, with_database
from rag.domain import Key, Scope
from rag.errors import InvalidInput
from rag.store import keys
from rag.store.database import Database

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.group()
def key() -> None:
    """Create, list and revoke API keys."""


@key.command()
@click.option("--tenant", metavar="SLUG", help="The tenant; not for an operator key.")
@click.option("--kind", type=click.Choice(["secret", "publishable", "operator"]), default="secret", show_default=True)
@click.option("--scopes", default=None, metavar="LIST", help="Of search,answer,ingest,manage. [default: search,answer]")
@click.option("--groups", default="", metavar="LIST", help="Access groups it reads as; '*' reads every document.")
@click.option("--name", default="", help="A note for the list of keys.")
@click.option("--expires", metavar="WHEN", help="In 90d, 12h, 30m, 2w, or at an ISO time.")
@json_option
def create(
    tenant: str | None,
    kind: Literal["secret", "publishable", "operator"],
    scopes: str | None,
    groups: str,
    name: str,
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it: it is shown this once and cannot be read again."""
    if (kind == "operator") == (tenant is not None):
        raise click.UsageError("give --tenant for a secret or publishable key, and none for an operator key")
    ends = _expiry(expires)
    wanted = _scopes(scopes, kind)

    async def work(database: Database) -> tuple[str, UUID]:
        if kind == "operator":
            async with database.control() as control:
                return await keys.create_operator_key(control, name=name, expires_at=ends)
        owner = await find_tenant(database, tenant or "")
        async with database.tenant(owner) as connection:
            return await keys.create_key(
                connection, owner, kind=kind, scopes=wanted, groups=_list(groups), name=name, expires_at=ends
            )

    made, key_id = with_database(work)
    if as_json:
        print_json({"key": made, "key_id": key_id, "kind": kind, "tenant": tenant, "expires_at": ends})
    else:
        click.echo(made)
        say("Keep it now: it is not stored and cannot be shown again.")


@key.command("list")
@click.option("--tenant", metavar="SLUG", help="The tenant; operator keys when left out.")
@json_option
def list_(tenant: str | None, as_json: bool) -> None:
    """List keys, revoked ones too; never the keys themselves."""

    async def work(database: Database) -> list[Key]:
        if tenant is None:
            async with database.control() as control:
                return await keys.list_operator_keys(control)
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner) as connection:
            return await keys.list_keys(connection, owner)

    found = with_database(work)
    if as_json:
        print_json(found)
        return
    rows: list[list[object]] = [
        [k.display, k.kind, ",".join(k.scopes), ",".join(k.groups), k.name, _state(k), k.last_used_at, k.key_id]
        for k in found
    ]
    print_table(["key", "kind", "scopes", "groups", "name", "state", "last used", "id"], rows)


@key.command()
@click.argument("key_id", type=click.UUID)
@click.option("--tenant", metavar="SLUG", help="The tenant; an operator key when left out.")
@json_option
def revoke(key_id: UUID, tenant: str | None, as_json: bool) -> None:
    """End a key; every process refuses it within five seconds."""

    async def work(database: Database) -> None:
        if tenant is None:
            async with database.control() as control:
                await keys.revoke_operator_key(control, key_id)
            return
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner) as connection:
            await keys.revoke_key(connection, owner, key_id)

    with_database(work)
    if as_json:
        print_json({"revoked": key_id})
    else:
        say(f"revoked {key_id}")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _scopes(text: str | None, kind: str) -> list[Scope]:
    default = "search" if kind == "publishable" else "search,answer"
    try:
        return [Scope(part) for part in _list(text or default)]
    except ValueError as error:
        raise click.BadParameter(f"{error}; there are {', '.join(Scope)}", param_hint="--scopes") from error


def _expiry(text: str | None) -> datetime | None:
    if text is None:
        return None
    if text[:-1].isdigit() and text[-1] in _UNITS:
        return datetime.now(UTC) + timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"--expires {text}: write 90d, 12h, 30m, 2w, or an ISO time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _state(found: Key) -> str:
    if found.revoked_at:
        return "revoked"
    return "expired" if found.expires_at and found.expires_at < datetime.now(UTC) else "active"
