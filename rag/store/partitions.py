"""Tenants' own partitions of the dense index: built beside the default one, swapped in and out in one step.

Each step is a transaction that leaves nothing half done, and may be taken again; what it does with the owner's rights
stands in migrations/0011_pre_partitions.sql.
"""

from typing import Any, Final, Literal

import msgspec

from rag.domain import TenantId
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import statement

HYSTERESIS: Final = 4  # a partition is dissolved under this part of the chunks that it is made above

Outcome = Literal["built", "attached", "dissolved", "behind", "busy", "full", "absent"]


class Placement(msgspec.Struct, frozen=True):
    """How many chunks a tenant has, 0 when it was deleted, and where its vectors of one space stand."""

    chunks: int
    built: bool
    attached: bool


async def read_placement(connection: TenantConnection, tenant: TenantId, space: str) -> Placement:
    """Where the tenant's vectors of a space stand now."""
    return Placement(**await _one(connection, "partitions.read", {"tenant": tenant, "space": space}))


async def build_partition(connection: TenantConnection, tenant: TenantId, space: str) -> Outcome:
    """Copy the tenant's vectors into a partition that nobody reads yet, and index it; takes a minute for 100,000.

    `built` also when it was before, `busy` while another tenant's is being built, `full` when a space has 1,000.
    """
    return await _step(connection, "partitions.build", tenant, space)


async def catch_up(connection: TenantConnection, tenant: TenantId, space: str) -> int:
    """Bring a built partition up to what was written meanwhile; how many rows that took."""
    return int((await _one(connection, "partitions.catch_up", {"tenant": tenant, "space": space}))["moved"])


async def attach_partition(connection: TenantConnection, tenant: TenantId, space: str) -> Outcome:
    """Let a built partition take the place of the tenant's rows in the default one, for every reader at once.

    `behind` when too much was written since it caught up, `busy` when the locks could not be had within a second.
    """
    return await _step(connection, "partitions.attach", tenant, space)


async def dissolve_partition(connection: TenantConnection, tenant: TenantId, space: str) -> Outcome:
    """Put the tenant's rows back into the default partition and drop its own; `busy` as in `attach_partition`."""
    return await _step(connection, "partitions.dissolve", tenant, space)


async def misplaced(
    connection: ControlConnection, *, partition_chunks: int, limit: int = 10
) -> list[tuple[TenantId, str]]:
    """Tenants, with their space, whose vectors stand in the wrong place and for whom no job is queued."""
    values = {"over": partition_chunks, "under": partition_chunks // HYSTERESIS, "limit": limit}
    rows = await (await connection.execute(statement("partitions.misplaced"), values)).fetchall()
    return [(TenantId(row["tenant_id"]), row["space"]) for row in rows]


async def partition_totals(connection: ControlConnection) -> dict[str, int]:
    """How many partitions of all tenants are `attached`, and how many `built` and not read yet."""
    row = await (await connection.execute(statement("partitions.totals"))).fetchone()
    return dict(row) if row else {}


async def _step(connection: TenantConnection, name: str, tenant: TenantId, space: str) -> Outcome:
    outcome: Outcome = (await _one(connection, name, {"tenant": tenant, "space": space}))["outcome"]
    return outcome


async def _one(connection: TenantConnection, name: str, values: dict[str, Any]) -> dict[str, Any]:
    row = await (await connection.execute(statement(name), values)).fetchone()
    if row is None:
        raise LookupError(name)
    return row
