"""Tenants, as an operator manages them: no statement here reads a tenant's documents."""

import re
from typing import Final

from rag.audit import Act, Event, Resource
from rag.domain import Tenant, TenantId
from rag.errors import Conflict, InvalidInput, NotFound
from rag.store.approvals import PrivilegedAct
from rag.store.audit import record
from rag.store.database import ControlConnection
from rag.store.statements import statement

DEFAULT_SPACE: Final = "minilm_l6_v2"
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


async def create_tenant(connection: ControlConnection, slug: str, *, name: str | None = None) -> Tenant:
    """Make a tenant with an empty corpus; raises `Conflict` when the slug is taken."""
    if not _SLUG.fullmatch(slug):
        raise InvalidInput("use 1 to 63 of a-z, 0-9 and '-', not beginning with '-'", pointer="/slug")
    values = {"slug": slug, "name": name or slug, "space": DEFAULT_SPACE}
    row = await (await connection.execute(statement("tenants.create"), values)).fetchone()
    if row is None:
        raise Conflict(f"a tenant '{slug}' exists already")
    made = Tenant(**row)
    resource = Resource("tenant", str(made.tenant_id), made.slug)
    await record(connection, None, Event(act=Act.TENANT_CREATE, resource=resource))
    return made


async def list_tenants(connection: ControlConnection) -> list[Tenant]:
    """Every tenant by slug, with its counts."""
    return [Tenant(**row) for row in await (await connection.execute(statement("tenants.list"))).fetchall()]


async def tenant_by_slug(connection: ControlConnection, slug: str) -> Tenant:
    """The tenant of that slug; raises `NotFound`."""
    row = await (await connection.execute(statement("tenants.by_slug"), {"slug": slug})).fetchone()
    if row is None:
        raise NotFound(f"no tenant '{slug}'")
    return Tenant(**row)


def deletion(tenant: TenantId) -> PrivilegedAct:
    """The privileged act of deleting a tenant."""
    return PrivilegedAct(name="tenant.delete", subject=tenant)


async def delete_tenant(connection: ControlConnection, tenant: TenantId) -> None:
    """Remove a tenant's row and, in this one transaction, all that is its own but its audit trail; raises `NotFound`.

    For a tenant that holds next to nothing. A tenant is deleted by its erasure (`rag.erasure`), which goes in short
    transactions, reaches the cache and leaves a receipt.
    """
    row = await (await connection.execute(statement("tenants.delete"), {"tenant": tenant})).fetchone()
    if row is None or not row["deleted"]:
        raise NotFound("no such tenant")
    await record(connection, None, Event(act=Act.TENANT_DELETE, resource=Resource("tenant", str(tenant))))
