"""/v1/admin: tenants and their keys, for operators."""

from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from rag.api.access import OPERATOR, Cost
from rag.api.cursors import cut, decode_cursor
from rag.api.erasure import receipt_of, run_a_while
from rag.api.idempotency import REPLAYED, SHOWN_ONCE
from rag.api.schemas import (
    ApprovalId,
    Cursor,
    KeyPage,
    KeyRequest,
    Limit,
    NewKey,
    RotationRequest,
    TenantDetail,
    TenantPage,
    TenantPatch,
    TenantRequest,
)
from rag.domain import Key, Limits, Retention, Scope, Tenant, TenantId
from rag.erasure import Eraser
from rag.origins import parse_origins
from rag.store import keys as key_store
from rag.store import limits as limit_store
from rag.store import retention as retention_store
from rag.store import tenants as tenant_store
from rag.store.database import Database, TenantConnection

_WRITE: Final = {**OPERATOR, "cost": Cost.WRITE}
_DEFAULT_SCOPES: Final = {"secret": [Scope.SEARCH, Scope.ANSWER], "publishable": [Scope.SEARCH]}


@get("/v1/admin/tenants", operation_id="listTenants", tags=["admin"], summary="List tenants", opt=OPERATOR)
async def list_tenants(database: NamedDependency[Database], limit: Limit = 20, cursor: Cursor = None) -> TenantPage:
    """Every tenant by slug, with its counts."""
    after = decode_cursor(cursor, str) or ""
    async with database.control() as connection:
        found = await tenant_store.list_tenants(connection)
    later = sorted((tenant for tenant in found if tenant.slug > after), key=lambda tenant: tenant.slug)
    data, more, following = cut(later, limit, lambda tenant: tenant.slug)
    return TenantPage(data=data, has_more=more, next_cursor=following)


@post(
    "/v1/admin/tenants",
    operation_id="createTenant",
    tags=["admin"],
    summary="Make a tenant",
    opt={**_WRITE, **REPLAYED, "problems": (409,), "location": True},
)
async def create_tenant(data: JSONBody[TenantRequest], database: NamedDependency[Database]) -> Response[TenantDetail]:
    """Make a tenant with an empty corpus; it has no key until one is made."""
    async with database.control() as connection:
        made = await tenant_store.create_tenant(connection, data.slug, name=data.name)
    detail = TenantDetail(**msgspec.structs.asdict(made), limits=Limits(), retention=Retention())
    return Response(detail, headers={"Location": f"/v1/admin/tenants/{made.slug}"})


@get("/v1/admin/tenants/{slug:str}", operation_id="getTenant", tags=["admin"], summary="Read a tenant", opt=OPERATOR)
async def get_tenant(slug: FromPath[str], database: NamedDependency[Database]) -> TenantDetail:
    """The tenant with its counts, limits and retention; null is the installation's default, 0 no limit and no end."""
    found = await _find(database, slug)
    async with database.tenant(TenantId(found.tenant_id)) as connection:
        return await _detail(connection, found)


@patch(
    "/v1/admin/tenants/{slug:str}",
    operation_id="changeTenant",
    tags=["admin"],
    summary="Change a tenant's limits and how long it keeps things",
    opt=_WRITE,
)
async def change_tenant(
    slug: FromPath[str], data: JSONBody[TenantPatch], database: NamedDependency[Database]
) -> TenantDetail:
    """Change what is given; null goes back to the default, 0 is no limit and no end.

    Limits hold within 5 seconds; what is kept no longer is gone within an hour or two.
    """
    found = await _find(database, slug)
    tenant = TenantId(found.tenant_id)
    async with database.tenant(tenant) as connection:
        await limit_store.change_limits(connection, tenant, msgspec.to_builtins(data.limits) if data.limits else {})
        if data.retention:
            await retention_store.change_retention(connection, tenant, msgspec.to_builtins(data.retention))
        return await _detail(connection, found)


@delete(
    "/v1/admin/tenants/{slug:str}",
    operation_id="deleteTenant",
    tags=["admin"],
    summary="Delete a tenant and all that is its own",
    opt={**_WRITE, "problems": (409,), "location": True},
)
async def delete_tenant(
    slug: FromPath[str], eraser: NamedDependency[Eraser], approval: ApprovalId = None
) -> Response[None]:
    """Erase the tenant, but for its audit trail. A privileged act.

    Nothing of it is served from here on. `Location` is the receipt; a worker finishes what takes longer than this.
    """
    begun = await eraser.begin_tenant(slug, approval=approval)
    await run_a_while(eraser, begun)
    return Response(None, headers={"Location": receipt_of(begun)})


@get(
    "/v1/admin/tenants/{slug:str}/keys",
    operation_id="listKeys",
    tags=["admin"],
    summary="List a tenant's keys",
    opt=OPERATOR,
)
async def list_keys(
    slug: FromPath[str], database: NamedDependency[Database], limit: Limit = 20, cursor: Cursor = None
) -> KeyPage:
    """The tenant's keys, oldest first, revoked ones too; never the key itself."""
    after = decode_cursor(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    tenant = await _tenant(database, slug)
    async with database.tenant(tenant) as connection:
        found = await key_store.list_keys(connection, tenant)
    later = [key for key in found if after is None or _order(key) > after]
    data, more, following = cut(later, limit, _order)
    return KeyPage(data=data, has_more=more, next_cursor=following)


@post(
    "/v1/admin/tenants/{slug:str}/keys",
    operation_id="createKey",
    tags=["admin"],
    summary="Make a key of a tenant",
    opt={**_WRITE, **SHOWN_ONCE},
)
async def create_key(slug: FromPath[str], data: JSONBody[KeyRequest], database: NamedDependency[Database]) -> NewKey:
    """Make a key; this answer is the only place where it can be read."""
    scopes = data.scopes or _DEFAULT_SCOPES[data.kind]
    tenant = await _tenant(database, slug)
    async with database.tenant(tenant) as connection:
        key, key_id = await key_store.create_key(
            connection,
            tenant,
            kind=data.kind,
            scopes=scopes,
            groups=data.groups,
            name=data.name,
            expires_at=data.expires_at,
            origins=data.origins,
            collections=data.collections,
        )
        publishable = data.kind == "publishable"
        secret = await key_store.create_signing_secret(connection, tenant, key_id) if publishable else None
    return NewKey(
        key=key,
        key_id=key_id,
        kind=data.kind,
        name=data.name,
        scopes=sorted({scope.value for scope in scopes}),
        groups=sorted(set(data.groups)),
        origins=list(parse_origins(data.origins)),
        collections=None if data.collections is None else sorted(set(data.collections)),
        expires_at=data.expires_at,
        signing_secret=secret,
    )


@post(
    "/v1/admin/tenants/{slug:str}/keys/{key_id:uuid}/rotate",
    operation_id="rotateKey",
    tags=["admin"],
    summary="Make a key's successor",
    opt={**_WRITE, **SHOWN_ONCE, "problems": (409,)},
)
async def rotate_key(
    slug: FromPath[str],
    key_id: FromPath[UUID],
    data: JSONBody[RotationRequest],
    database: NamedDependency[Database],
) -> NewKey:
    """Make a key that may do the same; both are valid until the overlap is over, and then the old one ends."""
    tenant = await _tenant(database, slug)
    async with database.tenant(tenant) as connection:
        done = await key_store.rotate_key(connection, tenant, key_id, overlap=timedelta(seconds=data.overlap_s))
    made = done.made
    return NewKey(
        key=done.key,
        key_id=made.key_id,
        kind="publishable" if made.kind == "publishable" else "secret",
        name=made.name,
        scopes=made.scopes,
        groups=made.groups,
        origins=made.origins,
        collections=made.collections,
        expires_at=made.expires_at,
        signing_secret=done.signing_secret,
        rotated_from=key_id,
        rotated_from_ends_at=done.ends_at,
    )


@delete(
    "/v1/admin/tenants/{slug:str}/keys/{key_id:uuid}",
    operation_id="revokeKey",
    tags=["admin"],
    summary="Revoke a key",
    opt=_WRITE,
)
async def revoke_key(slug: FromPath[str], key_id: FromPath[UUID], database: NamedDependency[Database]) -> None:
    """End the key; every process refuses it within 5 seconds."""
    tenant = await _tenant(database, slug)
    async with database.tenant(tenant) as connection:
        await key_store.revoke_key(connection, tenant, key_id)


async def _tenant(database: Database, slug: str) -> TenantId:
    return TenantId((await _find(database, slug)).tenant_id)


async def _find(database: Database, slug: str) -> Tenant:
    async with database.control() as connection:
        return await tenant_store.tenant_by_slug(connection, slug)


async def _detail(connection: TenantConnection, found: Tenant) -> TenantDetail:
    tenant = TenantId(found.tenant_id)
    limits = await limit_store.read_limits(connection, tenant)
    retention = await retention_store.get_retention(connection, tenant)
    return TenantDetail(**msgspec.structs.asdict(found), limits=limits, retention=retention)


def _order(key: Key) -> tuple[datetime, UUID]:
    return key.created_at, key.key_id


ROUTES: Final = (
    list_tenants,
    create_tenant,
    get_tenant,
    change_tenant,
    delete_tenant,
    list_keys,
    create_key,
    rotate_key,
    revoke_key,
)
