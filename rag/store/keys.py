"""Credentials as the database knows them: by their digest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from rag.domain import Key, Scope, TenantId
from rag.errors import Forbidden, NotFound
from rag.keys import digest_key, display_key, generate_key
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import statement
from rag.tenancy import Operator, Principal


async def authenticate(connection: ControlConnection, digest: bytes) -> Principal | Operator | None:
    """Whom a key's digest stands for; None when it is unknown, revoked or expired."""
    row = await (await connection.execute(statement("keys.authenticate"), {"digest": digest})).fetchone()
    if row is None:
        return None
    if row["tenant_id"] is None:
        return Operator(row["key_id"])
    return Principal(
        tenant=TenantId(row["tenant_id"]),
        slug=row["slug"],
        key_id=row["key_id"],
        kind=row["kind"],
        scopes=frozenset(row["scopes"]),
        groups=tuple(row["groups"]),
    )


async def create_key(
    connection: TenantConnection,
    tenant: TenantId,
    *,
    kind: Literal["secret", "publishable"] = "secret",
    scopes: Sequence[Scope] = (Scope.SEARCH, Scope.ANSWER),
    groups: Sequence[str] = (),
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[str, UUID]:
    """Make a key of a tenant; the string returned here is the only time it can be read.

    A publishable key can search and nothing else: other scopes raise `Forbidden`.
    """
    if kind == "publishable" and set(scopes) != {Scope.SEARCH}:
        raise Forbidden("a publishable key can carry the scope 'search' and no other")
    key = generate_key(kind)
    values = {
        "tenant": tenant,
        "kind": kind,
        "digest": digest_key(key),
        "display": display_key(key),
        "name": name,
        "scopes": sorted({scope.value for scope in scopes}),
        "groups": sorted(set(groups)),
        "expires_at": expires_at,
    }
    row = await (await connection.execute(statement("keys.create"), values)).fetchone()
    assert row is not None  # noqa: S101 - INSERT … RETURNING of one row
    return key, row["key_id"]


async def list_keys(connection: TenantConnection, tenant: TenantId) -> list[Key]:
    """The tenant's keys, oldest first, revoked ones too."""
    rows = await (await connection.execute(statement("keys.list"), {"tenant": tenant})).fetchall()
    return [Key(**row) for row in rows]


async def revoke_key(connection: TenantConnection, tenant: TenantId, key: UUID) -> None:
    """End a key now; raises `NotFound`. Processes that hold it in memory let it go within 5 s."""
    values = {"tenant": tenant, "key": key}
    if await (await connection.execute(statement("keys.revoke"), values)).fetchone() is None:
        raise NotFound("no such key")


async def create_operator_key(
    connection: ControlConnection, *, name: str = "", expires_at: datetime | None = None
) -> tuple[str, UUID]:
    """Make an operator key; the string returned here is the only time it can be read."""
    key = generate_key("operator")
    values = {"digest": digest_key(key), "display": display_key(key), "name": name, "expires_at": expires_at}
    row = await (await connection.execute(statement("keys.create_operator"), values)).fetchone()
    assert row is not None  # noqa: S101 - a function call gives one row
    return key, row["key_id"]


async def list_operator_keys(connection: ControlConnection) -> list[Key]:
    """The operator keys, oldest first."""
    return [Key(**row) for row in await (await connection.execute(statement("keys.list_operators"))).fetchall()]


async def revoke_operator_key(connection: ControlConnection, key: UUID) -> None:
    """End an operator key now; raises `NotFound`."""
    row = await (await connection.execute(statement("keys.revoke_operator"), {"key": key})).fetchone()
    if row is None or not row["revoked"]:
        raise NotFound("no such key")
