"""Moves a tenant's vectors to where they belong: a partition of its own with an approximate index, or the shared one.

Each step stands by itself, so a job that was killed is done by running it again. Who waits for a lock of a step gives
up within a second and comes back later: a search is held up for no longer than that.
"""

import asyncio
from typing import Final

from ingest.failures import TryAgain
from rag.domain import TenantId
from rag.store.database import Database
from rag.store.partitions import (
    HYSTERESIS,
    Outcome,
    attach_partition,
    build_partition,
    catch_up,
    dissolve_partition,
    read_placement,
)
from rag.telemetry import PARTITION_MOVES, log, stage

_BUILD_S: Final = 6 * 3_600.0
_SWAP_S: Final = 60.0
_SWAPS: Final = 5
_PAUSE_S: Final = 1.0
_LATER_S: Final = 30.0
_FEW: Final = 100  # rows that a swap may be left to bring over: about 0.2 s, with every search waiting


async def place(database: Database, tenant: TenantId, space: str, *, partition_chunks: int) -> None:
    """Give the tenant a partition of its own above `partition_chunks`, take it away below a quarter of that.

    Raises `TryAgain` when another move is under way or the locks could not be had.
    """
    async with database.tenant(tenant, erased=True) as connection:  # what an erasure left empty is to go too
        now = await read_placement(connection, tenant, space)
    if now.chunks > partition_chunks and not now.attached:
        with stage("partition"):
            await _promote(database, tenant, space)
    elif now.built and now.chunks < partition_chunks // HYSTERESIS:
        with stage("partition"):
            _settle(await _swap(database, tenant, space, attach=False), space)


async def _promote(database: Database, tenant: TenantId, space: str) -> None:
    async with database.tenant(tenant, timeout_s=_BUILD_S) as connection:
        built = await build_partition(connection, tenant, space)
    if built == "built":
        built = await _swap(database, tenant, space, attach=True)
    _settle(built, space)


async def _swap(database: Database, tenant: TenantId, space: str, *, attach: bool) -> Outcome:
    outcome: Outcome = "busy"
    for _ in range(_SWAPS):
        if attach:
            await _catch_up(database, tenant, space)
        async with database.tenant(tenant, timeout_s=_SWAP_S, erased=not attach) as connection:
            outcome = await (attach_partition if attach else dissolve_partition)(connection, tenant, space)
        if outcome not in {"busy", "behind"}:
            break
        await asyncio.sleep(_PAUSE_S)
    return outcome


async def _catch_up(database: Database, tenant: TenantId, space: str) -> None:
    for _ in range(_SWAPS):
        async with database.tenant(tenant, timeout_s=_BUILD_S) as connection:
            if await catch_up(connection, tenant, space) <= _FEW:
                return


def _settle(outcome: Outcome, space: str) -> None:
    PARTITION_MOVES.labels(outcome).inc()
    if outcome in {"busy", "behind"}:
        log.info("partition_postponed", space=space, outcome=outcome)
        raise TryAgain(_LATER_S)
    if outcome == "full":
        log.warning("partitions_full", space=space)
    else:
        log.info("partition_moved", space=space, outcome=outcome)
