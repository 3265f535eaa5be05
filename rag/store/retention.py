"""How long a tenant keeps what ages, and the removal of what is older."""

from collections.abc import Mapping
from typing import Final

import msgspec
import psycopg

from rag.audit import Act, Event, Resource
from rag.domain import Retention, TenantId
from rag.errors import NotFound
from rag.store.audit import record
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import statement

# What ages, by the name of its setting, and the table whose rows go.
STORES: Final = {"answers_days": "answers", "jobs_days": "ingest_runs", "versions_days": "document_versions"}
_PURGES: Final = {
    "answers_days": "retention.purge_answers",
    "jobs_days": "retention.purge_jobs",
    "versions_days": "retention.purge_versions",
}


async def get_retention(connection: TenantConnection, tenant: TenantId) -> Retention:
    """What the tenant has chosen; null wherever it goes by the installation."""
    row = await (await connection.execute(statement("retention.get"), {"tenant": tenant})).fetchone()
    return Retention(**row) if row else Retention()


async def change_retention(connection: TenantConnection, tenant: TenantId, change: Mapping[str, int | None]) -> None:
    """Change the named fields of `Retention` and leave the others; raises `NotFound` when the tenant was deleted."""
    chosen = msgspec.structs.replace(await get_retention(connection, tenant), **change)
    try:
        await connection.execute(statement("retention.set"), {"tenant": tenant, **msgspec.structs.asdict(chosen)})
    except psycopg.errors.ForeignKeyViolation as error:
        raise NotFound("no such tenant") from error
    event = Event(act=Act.TENANT_UPDATE, resource=Resource("tenant", str(tenant)), detail=dict(change))
    await record(connection, tenant, event)


async def claim_purges(connection: ControlConnection, *, every_s: float, limit: int) -> list[TenantId]:
    """Tenants that were not purged for `every_s` seconds; no other worker is given them for as long."""
    values = {"every": every_s, "limit": limit}
    rows = await (await connection.execute(statement("retention.claim"), values)).fetchall()
    return [TenantId(row["tenant_id"]) for row in rows]


async def purge_batch(connection: TenantConnection, tenant: TenantId, what: str, *, days: int, limit: int) -> int:
    """Remove at most `limit` rows of one of `STORES` that are older than `days`; gives back how many."""
    values = {"tenant": tenant, "days": days, "limit": limit}
    return (await connection.execute(statement(_PURGES[what]), values)).rowcount
