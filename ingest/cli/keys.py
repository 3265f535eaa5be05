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

_LONGEST_DURATION = 6
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.group()
def key() -> None:
    """Create, list, rotate and revoke API keys."""


@key.command()
@click.option("--tenant", metavar="SLUG", help="The tenant; not for an operator key.")
@click.option("--kind", type=click.Choice(["secret", "publishable", "operator"]), default="secret", show_default=True)
@click.option("--scopes", default=None, metavar="LIST", help="Of search,answer,ingest,manage. [default: search,answer]")
@click.option("--groups", default="", metavar="LIST", help="Access groups it reads as; '*' reads every document.")
@click.option("--origins", default="", metavar="LIST", help="Pages a publishable key works in: https://shop.example,…")
@click.option("--collections", default="", metavar="LIST", help="All a publishable key searches. [default: every one]")
@click.option("--name", default="", help="A note for the list of keys.")
@click.option("--expires", metavar="WHEN", help="In 90d, 12h, 30m, 2w, or at an ISO time.")
@json_option
def create(
    tenant: str | None,
    kind: Literal["secret", "publishable", "operator"],
    scopes: str | None,
    groups: str,
    origins: str,
    collections: str,
    name: str,
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it: it is shown this once and cannot be read again."""
    if (kind == "operator") == (tenant is not None):
        raise click.UsageError("give --tenant for a secret or publishable key, and none for an operator key")
    if kind != "publishable" and (origins or collections):
        raise click.UsageError("only a publishable key is bound to --origins and --collections")
    ends = _expiry(expires)
    wanted = _scopes(scopes, kind)

    async def work(database: Database) -> tuple[str, UUID, str | None]:
        if kind == "operator":
            async with database.control() as control:
                return *await keys.create_operator_key(control, name=name, expires_at=ends), None
        owner = await find_tenant(database, tenant or "")
        async with database.tenant(owner) as connection:
            made, key_id = await keys.create_key(
                connection,
                owner,
                kind=kind,
                scopes=wanted,
                groups=_list(groups),
                name=name,
                expires_at=ends,
                origins=_list(origins),
                collections=_list(collections) or None,
            )
            if kind == "secret":
                return made, key_id, None
            return made, key_id, await keys.create_signing_secret(connection, owner, key_id)

    made, key_id, secret = with_database(work)
    signing = {"signing_secret": secret} if secret else {}
    if as_json:
        print_json({"key": made, "key_id": key_id, "kind": kind, "tenant": tenant, "expires_at": ends, **signing})
    else:
        _show(made, secret)


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
        [
            *[k.display, k.kind, ",".join(k.scopes), ",".join(k.groups), ",".join(k.origins)],
            *["every" if k.collections is None else ",".join(k.collections), k.name, _state(k)],
            *[k.last_used_at, k.key_id],
        ]
        for k in found
    ]
    columns = ["key", "kind", "scopes", "groups", "origins", "collections", "name", "state", "last used", "id"]
    print_table(columns, rows)


@key.command()
@click.argument("key_id", type=click.UUID)
@click.option("--tenant", metavar="SLUG", help="The tenant; an operator key when left out.")
@click.option(
    "--overlap", default="24h", show_default=True, metavar="TIME", help="How long both are valid; 0m: not at all."
)
@json_option
def rotate(key_id: UUID, tenant: str | None, overlap: str, as_json: bool) -> None:
    """Make a key's successor and print it; the key itself goes on until the overlap is over."""
    both = _duration(overlap)
    if both is None:
        raise click.BadParameter("write 24h, 30m, 2d", param_hint="--overlap")

    async def work(database: Database) -> keys.Rotation:
        if tenant is None:
            async with database.control() as control:
                return await keys.rotate_operator_key(control, key_id, overlap=both)
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner) as connection:
            return await keys.rotate_key(connection, owner, key_id, overlap=both)

    done = with_database(work)
    signing = {"signing_secret": done.signing_secret} if done.signing_secret else {}
    if as_json:
        ends = {"rotated_from": key_id, "rotated_from_ends_at": done.ends_at}
        made = {"key": done.key, "key_id": done.made.key_id, "expires_at": done.made.expires_at}
        print_json({**made, **signing, **ends})
    else:
        _show(done.key, done.signing_secret)
        say(f"{key_id} ends at {done.ends_at:%Y-%m-%d %H:%M} UTC")


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


def _show(key: str, secret: str | None) -> None:
    click.echo(key)
    if secret:
        say(f"signing secret for widget tokens: {secret}")
    say("Keep it now: it cannot be shown again.")


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
    if (life := _duration(text)) is not None:
        return datetime.now(UTC) + life
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"--expires {text}: write 90d, 12h, 30m, 2w, or an ISO time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _duration(text: str) -> timedelta | None:
    if text[:-1].isdecimal() and len(text) <= _LONGEST_DURATION and text[-1] in _UNITS:
        return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    return None


def _state(found: Key) -> str:
    if found.revoked_at:
        return "revoked"
    if found.rotated_at and found.expires_at and found.expires_at > datetime.now(UTC):
        return "rotated"
    return "expired" if found.expires_at and found.expires_at < datetime.now(UTC) else "active"
