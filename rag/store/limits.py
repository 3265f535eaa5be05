"""Where a tenant's limits differ from the installation's."""

from collections.abc import Mapping

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from rag.audit import Act, Event, Resource
from rag.domain import Limits, TenantId
from rag.errors import NotFound
from rag.store.audit import record
from rag.store.database import TenantConnection
from rag.store.statements import statement


async def read_limits(connection: TenantConnection, tenant: TenantId) -> Limits:
    """The tenant's own limits; None in a field is the installation's default."""
    row = await (await connection.execute(statement("limits.get"), {"tenant": tenant})).fetchone()
    return msgspec.convert(row["limits"], Limits) if row else Limits()


async def change_limits(connection: TenantConnection, tenant: TenantId, change: Mapping[str, int | None]) -> Limits:
    """Change the named fields of `Limits` and leave the others; raises `NotFound` when the tenant was deleted.

    Processes that remember the old ones let them go within 5 s.
    """
    values = {"tenant": tenant, "limits": Jsonb(dict(change))}
    try:
        row = await (await connection.execute(statement("limits.change"), values)).fetchone()
    except psycopg.errors.ForeignKeyViolation as error:
        raise NotFound("no such tenant") from error
    assert row is not None  # noqa: S101 - INSERT … RETURNING of one row
    event = Event(act=Act.TENANT_UPDATE, resource=Resource("tenant", str(tenant)), detail=dict(change))
    await record(connection, tenant, event)
    return msgspec.convert(row["limits"], Limits)
