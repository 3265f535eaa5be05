"""The audit trail: what an act leaves in it, and what is read of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from rag.audit import CONTROL, Event, Recorded, to_ocsf
from rag.domain import TenantId
from rag.store.database import ControlConnection, Database, TenantConnection
from rag.store.statements import statement

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1), 2**63 - 1)
_PAGE: Final = 500

Place = tuple[datetime, UUID, int]  # where a list goes on: time, chain, sequence


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A chain and its last event, which `sequence` counts; None where no head is kept."""

    chain: TenantId
    slug: str | None
    sequence: int | None
    hash: bytes | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event with the chain that it stands in."""

    chain: TenantId
    slug: str | None
    recorded: Recorded


async def record(connection: TenantConnection | ControlConnection, tenant: TenantId | None, event: Event) -> None:
    """Have an event appended to a tenant's chain, None for the control chain, when the transaction is through.

    It becomes the transaction's last statement wherever this is called in it, so that the chain is locked shortest
    and after all else; the act and its event are kept or undone together. Not for what a savepoint may still undo.
    """
    body = to_ocsf(event, event.by or connection.by)
    connection.entries.append((tenant or CONTROL, body))


async def list_heads(connection: ControlConnection) -> list[Head]:
    """Every chain, the control chain first, also of tenants that are gone."""
    rows = await (await connection.execute(statement("audit.heads"))).fetchall()
    return [
        Head(chain=TenantId(row["tenant_id"]), slug=row["slug"], sequence=row["sequence"], hash=row["hash"])
        for row in rows
    ]


async def read_head(database: Database, chain: TenantId) -> tuple[int, bytes] | None:
    """The number and the hash of a chain's last event, as they are kept beside the chain."""
    async with database.tenant(chain, erased=True) as connection:
        row = await (await connection.execute(statement("audit.head"), {"tenant": chain})).fetchone()
    return (row["sequence"], row["hash"]) if row else None


async def list_events(
    connection: ControlConnection, *, chain: TenantId | None = None, before: Place | None = None, limit: int = 100
) -> list[Entry]:
    """Events of one chain or of all, newest first, those before `before`."""
    time, place, sequence = before or _LATEST
    values = {"chain": chain, "before": time, "before_chain": place, "before_sequence": sequence, "limit": limit}
    rows = await (await connection.execute(statement("audit.page"), values)).fetchall()
    return [Entry(chain=TenantId(row.pop("tenant_id")), slug=row.pop("slug"), recorded=Recorded(**row)) for row in rows]


async def read_chain(database: Database, chain: TenantId, *, since: datetime = BEGINNING) -> AsyncIterator[Recorded]:
    """A chain's events in order, a page at a time: a chain of any length takes the memory of one page."""
    after = 0
    while True:
        async with database.tenant(chain, erased=True) as connection:
            values: dict[str, Any] = {"tenant": chain, "after": after, "since": since, "limit": _PAGE}
            rows = await (await connection.execute(statement("audit.events"), values)).fetchall()
        for row in rows:
            yield Recorded(**row)
        if len(rows) < _PAGE:
            return
        after = rows[-1]["sequence"]


async def known_keys(connection: ControlConnection, digests: list[bytes]) -> dict[bytes, tuple[UUID, TenantId | None]]:
    """Of these digests of keys, those that are or were keys of ours: their id, and their tenant if they have one."""
    rows = await (await connection.execute(statement("audit.known_keys"), {"digests": digests})).fetchall()
    return {row["digest"]: (row["key_id"], row["tenant_id"]) for row in rows}
