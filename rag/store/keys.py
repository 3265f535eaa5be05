"""Credentials as the database knows them: by their digest."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from rag.audit import Act, Detail, Event, Resource
from rag.domain import Key, Scope, TenantId
from rag.errors import Conflict, Forbidden, InvalidInput, NotFound
from rag.keys import digest_key, display_key, generate_key, generate_signing_secret
from rag.origins import parse_origins
from rag.settings import Secret
from rag.store.audit import record
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import statement
from rag.tenancy import ALL_GROUPS, Operator, Principal

OVERLAP: Final = timedelta(days=1)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


class WidgetKey(msgspec.Struct, frozen=True):
    """A live publishable key: whom it stands for by itself, and what its widget tokens are signed with."""

    principal: Principal
    secret: Secret


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """A key's successor, which can be read here and never again, and when the key itself ends."""

    key: str
    made: Key
    ends_at: datetime
    signing_secret: str | None = None


async def authenticate(connection: ControlConnection, digest: bytes) -> Principal | Operator | None:
    """Whom a key's digest stands for; None when it is unknown, revoked or expired."""
    row = await (await connection.execute(statement("keys.authenticate"), {"digest": digest})).fetchone()
    if row is None:
        return None
    return Operator(row["key_id"]) if row["tenant_id"] is None else _principal(row)


async def authenticate_widget(connection: ControlConnection, key: UUID) -> WidgetKey | None:
    """The publishable key that a widget token names; None when it is unknown, revoked, expired or has no secret."""
    row = await (await connection.execute(statement("keys.authenticate_widget"), {"key": key})).fetchone()
    return WidgetKey(_principal(row), Secret(row["secret"])) if row else None


async def resolve_tenant(connection: ControlConnection, slug: str) -> TenantId | None:
    """The tenant of that slug."""
    row = await (await connection.execute(statement("keys.resolve_tenant"), {"slug": slug})).fetchone()
    return TenantId(row["tenant_id"]) if row else None


async def origin_listed(connection: ControlConnection, origin: str) -> bool:
    """Whether any live publishable key, of whatever tenant, lists the origin."""
    row = await (await connection.execute(statement("keys.origin_listed"), {"origin": origin})).fetchone()
    return bool(row and row["listed"])


async def create_key(
    connection: TenantConnection,
    tenant: TenantId,
    *,
    kind: Literal["secret", "publishable"] = "secret",
    scopes: Sequence[Scope] = (Scope.SEARCH, Scope.ANSWER),
    groups: Sequence[str] = (),
    name: str = "",
    expires_at: datetime | None = None,
    origins: Sequence[str] = (),
    collections: Sequence[str] | None = None,
    rotated_from: UUID | None = None,
) -> tuple[str, UUID]:
    """Make a key of a tenant; the string returned here is the only time it can be read.

    A publishable key can search and nothing else: other scopes raise `Forbidden`, and all groups at once
    `InvalidInput`. Without `collections` it searches every one, without `origins` it works in no browser; a secret key
    takes neither.
    """
    _check_confinement(kind, scopes, groups, origins, collections)
    key = generate_key(kind)
    values: dict[str, Any] = {
        "tenant": tenant,
        "kind": kind,
        "digest": digest_key(key),
        "display": display_key(key),
        "name": name,
        "scopes": sorted({scope.value for scope in scopes}),
        "groups": sorted(set(groups)),
        "origins": list(parse_origins(origins)),
        "collections": None if collections is None else sorted(set(collections)),
        "expires_at": expires_at,
        "rotated_from": rotated_from,
    }
    row = await (await connection.execute(statement("keys.create"), values)).fetchone()
    assert row is not None  # noqa: S101 - INSERT … RETURNING of one row
    made: dict[str, Detail] = {name: values[name] for name in ("kind", "scopes", "groups", "origins", "collections")}
    await record(connection, tenant, _event(Act.KEY_CREATE, row["key_id"], {**made, **_end(expires_at)}))
    return key, row["key_id"]


async def create_signing_secret(connection: TenantConnection, tenant: TenantId, key: UUID) -> str:
    """Make what the widget tokens of a new publishable key are signed with; it can be read here and never again."""
    secret = generate_signing_secret()
    await connection.execute(statement("keys.keep_secret"), {"tenant": tenant, "key": key, "secret": secret})
    return secret


async def list_keys(connection: TenantConnection, tenant: TenantId) -> list[Key]:
    """The tenant's keys, oldest first, revoked ones too."""
    rows = await (await connection.execute(statement("keys.list"), {"tenant": tenant})).fetchall()
    return [Key(**row) for row in rows]


async def rotate_key(
    connection: TenantConnection, tenant: TenantId, key: UUID, *, overlap: timedelta = OVERLAP
) -> Rotation:
    """Make a key's successor, with all that it may do and as long a life; the key itself ends after the overlap.

    The widget tokens of the key end with it: its successor has a signing secret of its own. Raises `NotFound`, and
    `Conflict` for a key that has ended or has a successor already.
    """
    values = {"tenant": tenant, "key": key}
    row = await (await connection.execute(statement("keys.lock"), values)).fetchone()
    now = datetime.now(UTC)
    old = _rotatable([Key(**row)] if row else [], key, now)
    text, made = await create_key(
        connection,
        tenant,
        kind=_of_tenant(old.kind),
        scopes=[Scope(scope) for scope in old.scopes],
        groups=old.groups,
        name=old.name,
        expires_at=_as_long(old, now),
        origins=old.origins,
        collections=old.collections,
        rotated_from=key,
    )
    secret = await create_signing_secret(connection, tenant, made) if old.kind == "publishable" else None
    retired = await (
        await connection.execute(statement("keys.retire"), {**values, "ends_at": now + overlap})
    ).fetchone()
    assert retired is not None  # noqa: S101 - the row is locked
    await record(connection, tenant, _event(Act.KEY_ROTATE, key, {"successor": str(made)}))
    successor = next(found for found in await list_keys(connection, tenant) if found.key_id == made)
    return Rotation(key=text, made=successor, ends_at=retired["expires_at"], signing_secret=secret)


async def revoke_key(connection: TenantConnection, tenant: TenantId, key: UUID) -> None:
    """End a key now; raises `NotFound`. Processes that hold it in memory let it go within 5 s."""
    values = {"tenant": tenant, "key": key}
    if await (await connection.execute(statement("keys.revoke"), values)).fetchone() is None:
        raise NotFound("no such key")
    await record(connection, tenant, _event(Act.KEY_REVOKE, key))


async def note_use(connection: TenantConnection, tenant: TenantId, key: UUID) -> None:
    """Note that a token of a key was used."""
    await connection.execute(statement("keys.note_use"), {"tenant": tenant, "key": key})


async def create_operator_key(
    connection: ControlConnection, *, name: str = "", expires_at: datetime | None = None
) -> tuple[str, UUID]:
    """Make an operator key; the string returned here is the only time it can be read."""
    key = generate_key("operator")
    values = {"digest": digest_key(key), "display": display_key(key), "name": name, "expires_at": expires_at}
    row = await (await connection.execute(statement("keys.create_operator"), values)).fetchone()
    assert row is not None  # noqa: S101 - a function call gives one row
    made: dict[str, Detail] = {"kind": "operator", **_end(expires_at)}
    await record(connection, None, _event(Act.KEY_CREATE, row["key_id"], made))
    return key, row["key_id"]


async def list_operator_keys(connection: ControlConnection) -> list[Key]:
    """The operator keys, oldest first."""
    return [Key(**row) for row in await (await connection.execute(statement("keys.list_operators"))).fetchall()]


async def rotate_operator_key(connection: ControlConnection, key: UUID, *, overlap: timedelta = OVERLAP) -> Rotation:
    """Make an operator key's successor, as `rotate_key` does."""
    now = datetime.now(UTC)
    old = _rotatable(await list_operator_keys(connection), key, now)
    text = generate_key("operator")
    values = {
        "key": key,
        "digest": digest_key(text),
        "display": display_key(text),
        "expires_at": _as_long(old, now),
        "ends_at": now + overlap,
    }
    row = await (await connection.execute(statement("keys.rotate_operator"), values)).fetchone()
    if row is None:
        raise Conflict("the key has ended or was rotated meanwhile")
    await record(connection, None, _event(Act.KEY_ROTATE, key, {"successor": str(row["key_id"])}))
    successor = next(found for found in await list_operator_keys(connection) if found.key_id == row["key_id"])
    return Rotation(key=text, made=successor, ends_at=row["ends_at"])


async def revoke_operator_key(connection: ControlConnection, key: UUID) -> None:
    """End an operator key now; raises `NotFound`."""
    row = await (await connection.execute(statement("keys.revoke_operator"), {"key": key})).fetchone()
    if row is None or not row["revoked"]:
        raise NotFound("no such key")
    await record(connection, None, _event(Act.KEY_REVOKE, key))


def _event(act: Act, key: UUID, detail: dict[str, Detail] | None = None) -> Event:
    return Event(act=act, resource=Resource("key", str(key)), detail=detail or {})


def _end(expires_at: datetime | None) -> dict[str, Detail]:
    return {"expires_at": expires_at.isoformat()} if expires_at else {}


def _principal(row: Mapping[str, Any]) -> Principal:
    return Principal(
        tenant=TenantId(row["tenant_id"]),
        slug=row["slug"],
        key_id=row["key_id"],
        kind=row["kind"],
        scopes=frozenset(row["scopes"]),
        groups=tuple(row["groups"]),
        origins=tuple(row["origins"]),
        collections=None if row["collections"] is None else tuple(row["collections"]),
    )


def _check_confinement(
    kind: str, scopes: Sequence[Scope], groups: Sequence[str], origins: Sequence[str], collections: Sequence[str] | None
) -> None:
    if kind == "publishable":
        if set(scopes) != {Scope.SEARCH}:
            raise Forbidden("a publishable key can carry the scope 'search' and no other")
        if ALL_GROUPS in groups:
            raise InvalidInput("a key that anyone may read cannot carry all groups: name them", pointer="/groups")
        if collections is not None and not collections:
            raise InvalidInput("name a collection, or leave this out for every one", pointer="/collections")
    elif origins or collections is not None:
        raise InvalidInput(
            "only a publishable key is bound to origins and collections",
            pointer="/origins" if origins else "/collections",
        )


def _rotatable(keys: Sequence[Key], key: UUID, now: datetime) -> Key:
    found = next((candidate for candidate in keys if candidate.key_id == key), None)
    if found is None:
        raise NotFound("no such key")
    if found.revoked_at or (found.expires_at and found.expires_at <= now):
        raise Conflict("the key has ended; make a new one")
    if found.rotated_at:
        raise Conflict("the key was rotated already; rotate its successor")
    return found


def _as_long(old: Key, now: datetime) -> datetime | None:
    if old.expires_at is None:
        return None
    return now + min(old.expires_at - old.created_at, _LATEST - now)


def _of_tenant(kind: str) -> Literal["secret", "publishable"]:
    return "publishable" if kind == "publishable" else "secret"
