"""/v1/admin/embedding-spaces: which there are, and which is searched."""

from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from rag.api.access import OPERATOR, Cost
from rag.api.cursors import cut, decode_cursor
from rag.api.idempotency import REPLAYED
from rag.api.schemas import ApprovalId, Cursor, Limit, Page
from rag.domain import TenantId
from rag.settings import Settings
from rag.store import spaces as store
from rag.store.approvals import require_approval
from rag.store.database import Database
from rag.store.spaces import EmbeddingSpace
from rag.store.tenants import tenant_by_slug

_SECONDS: Final = 120.0  # vectors are counted


class SpacePage(Page[EmbeddingSpace], kw_only=True):
    """A page of embedding spaces, by name."""


class ActivationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whom to move; without a tenant, all of them."""

    tenant: Annotated[str, Meta(min_length=1, max_length=63)] | None = None


class Activation(msgspec.Struct, kw_only=True):
    """Who was moved to the space; whoever was active on it already is not named."""

    space: str
    tenants: list[str]


@get(
    "/v1/admin/embedding-spaces",
    operation_id="listEmbeddingSpaces",
    tags=["admin"],
    summary="List embedding spaces",
    opt=OPERATOR,
)
async def list_spaces(database: NamedDependency[Database], limit: Limit = 20, cursor: Cursor = None) -> SpacePage:
    """Every space by name, with the tenants active on it and how many of all chunks have a vector there."""
    after = decode_cursor(cursor, str) or ""
    async with database.control(timeout_s=_SECONDS) as connection:
        found = await store.list_spaces(connection)
    later = [space for space in found if space.space > after]
    data, more, following = cut(later, limit, lambda space: space.space)
    return SpacePage(data=data, has_more=more, next_cursor=following)


@post(
    "/v1/admin/embedding-spaces/{space:str}/activate",
    status_code=200,
    operation_id="activateEmbeddingSpace",
    tags=["admin"],
    summary="Search in this space from now on",
    opt={**OPERATOR, **REPLAYED, "cost": Cost.WRITE, "problems": (409,)},
)
async def activate_space(
    space: FromPath[str],
    data: JSONBody[ActivationRequest],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    approval: ApprovalId = None,
) -> Activation:
    """Move a tenant, or all; a conflict unless every chunk has its vector in the space. A privileged act."""
    async with database.control(timeout_s=_SECONDS) as connection:
        tenant = TenantId((await tenant_by_slug(connection, data.tenant)).tenant_id) if data.tenant else None
        act, required = await store.activation(connection, space, tenant), settings.approvals_required
        await require_approval(connection, act, by=database.by, approval=approval, required=required)
        flipped = await store.activate_space(connection, space, tenant=tenant)
    return Activation(space=space, tenants=flipped)


ROUTES: Final = (list_spaces, activate_space)
