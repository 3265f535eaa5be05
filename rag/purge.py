"""Retention, carried out: what is older than a tenant keeps it is removed in short transactions."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from rag.domain import Days, Retention, TenantId
from rag.errors import TenantErased
from rag.settings import Settings
from rag.store.approvals import purge_approvals
from rag.store.database import Database, TenantConnection
from rag.store.idempotency import purge_expired
from rag.store.retention import STORES, claim_purges, get_retention, purge_batch
from rag.telemetry import ROWS_REMOVED, log

_EVERY_S: Final = 3_600.0
_AT_A_TIME: Final = 20
_APPROVALS_DAYS: Final = 90
_REQUESTS: Final = "idempotency_records"


def standing_retention(settings: Settings) -> Retention:
    """What holds for tenants that have not chosen."""
    return Retention(
        answers_days=settings.retention_answers_days,
        jobs_days=settings.retention_jobs_days,
        versions_days=settings.retention_versions_days,
    )


def effective(chosen: Retention, standing: Retention) -> dict[str, Days]:
    """The days for each thing that ages; what is kept for ever is left out."""
    own, rest = msgspec.structs.asdict(chosen), msgspec.structs.asdict(standing)
    days = {what: rest[what] if own[what] is None else own[what] for what in STORES}
    return {what: count for what, count in days.items() if count}


class Purger:
    """Purges tenants; of several workers that ask at once, one gets a tenant."""

    def __init__(self, database: Database, standing: Retention, *, batch: int = 1_000) -> None:
        self._database = database
        self.standing = standing
        self._batch = batch

    async def purge_due(self) -> int:
        """Purge the tenants that nobody has purged for an hour; gives back how many there were."""
        async with self._database.control() as connection:
            due = await claim_purges(connection, every_s=_EVERY_S, limit=_AT_A_TIME)
            await purge_approvals(connection, days=_APPROVALS_DAYS, limit=self._batch)
        for tenant in due:
            await self.purge(tenant)
        return len(due)

    async def purge(self, tenant: TenantId) -> dict[str, int]:
        """Remove what the tenant keeps no longer; the rows removed by store, nothing when it is being erased."""
        try:
            removed = await self._purge(tenant)
        except TenantErased:
            return {}
        if any(removed.values()):
            log.info("purged", tenant=str(tenant), **removed)
        return removed

    async def _purge(self, tenant: TenantId) -> dict[str, int]:
        async with self._database.tenant(tenant, snapshot=True) as connection:
            days = effective(await get_retention(connection, tenant), self.standing)
        counts = {}
        for what, count in days.items():
            batch = partial(purge_batch, tenant=tenant, what=what, days=count, limit=self._batch)
            counts[STORES[what]] = await self._purge_store(tenant, STORES[what], batch)
        batch = partial(purge_expired, tenant=tenant, limit=self._batch)
        return {**counts, _REQUESTS: await self._purge_store(tenant, _REQUESTS, batch)}

    async def _purge_store(
        self, tenant: TenantId, name: str, batch: Callable[[TenantConnection], Awaitable[int]]
    ) -> int:
        total, removed = 0, self._batch
        while removed >= self._batch:
            async with self._database.tenant(tenant, timeout_s=60) as connection:
                removed = await batch(connection)
            ROWS_REMOVED.labels(name, "age").inc(removed)
            total += removed
        return total
