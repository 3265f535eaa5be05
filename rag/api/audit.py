"""/v1/admin/audit: the audit trail, for operators."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta

from rag.api.access import OPERATOR
from rag.api.cursors import cut, decode_cursor
from rag.api.schemas import Cursor, Limit, Page
from rag.audit import CONTROL, AuditLine, audit_line
from rag.domain import TenantId
from rag.store.audit import Entry, list_events
from rag.store.database import ControlConnection, Database
from rag.store.tenants import tenant_by_slug


class AuditPage(Page[AuditLine], kw_only=True):
    """A page of audit events, newest first."""


_READ: Final = {**OPERATOR, "problems": (404,)}


@get("/v1/admin/audit", operation_id="listAuditEvents", tags=["admin"], summary="Read the audit trail", opt=_READ)
async def list_audit_events(
    database: NamedDependency[Database],
    tenant: Annotated[
        str | None,
        QueryParameter(max_length=64, description="A tenant's slug, the id of one that is gone, or 'control'."),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AuditPage:
    """Events of every chain or of one, newest first; `event` is an OCSF object."""
    before = decode_cursor(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID, Annotated[int, Meta(le=2**63 - 1)]])
    async with database.control() as connection:
        chain = await _chain(connection, tenant)
        found = await list_events(connection, chain=chain, before=before, limit=limit + 1)
    data, more, following = cut(found, limit, _order)
    lines = [audit_line(entry.chain, entry.slug, entry.recorded) for entry in data]
    return AuditPage(data=lines, has_more=more, next_cursor=following)


async def _chain(connection: ControlConnection, tenant: str | None) -> TenantId | None:
    if tenant is None or tenant == "control":
        return CONTROL if tenant else None
    try:
        return TenantId(UUID(tenant))
    except ValueError:
        return TenantId((await tenant_by_slug(connection, tenant)).tenant_id)


def _order(entry: Entry) -> tuple[datetime, UUID, int]:
    return entry.recorded.occurred_at, entry.chain, entry.recorded.sequence


ROUTES: Final = (list_audit_events,)
