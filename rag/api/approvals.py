"""/v1/admin/approvals: what one operator asks for and another one grants."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from rag.api.access import OPERATOR, Cost
from rag.api.cursors import cut, decode_cursor
from rag.api.idempotency import REPLAYED
from rag.api.schemas import Cursor, Limit, Page
from rag.audit import Actor
from rag.settings import Settings
from rag.store import approvals as store
from rag.store.approvals import Approval, ApprovalState, Decision
from rag.store.database import Database

_DECIDE: Final = {**OPERATOR, **REPLAYED, "cost": Cost.WRITE, "problems": (409,)}


class ApprovalPage(Page[Approval], kw_only=True):
    """A page of approvals, newest first; with `mode` off, privileged acts need none."""

    mode: Literal["required", "off"]


@get("/v1/admin/approvals", operation_id="listApprovals", tags=["admin"], summary="List approvals", opt=OPERATOR)
async def list_approvals(
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    status: Annotated[ApprovalState | None, QueryParameter(description="Only those in this state.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> ApprovalPage:
    """Requests and what became of them, newest first."""
    before = decode_cursor(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    async with database.control() as connection:
        found = await store.list_approvals(connection, state=status, before=before, limit=limit + 1)
    data, more, following = cut(found, limit, lambda approval: (approval.requested_at, approval.approval_id))
    mode: Literal["required", "off"] = "required" if settings.approvals_required else "off"
    return ApprovalPage(mode=mode, data=data, has_more=more, next_cursor=following)


@get(
    "/v1/admin/approvals/{approval_id:uuid}",
    operation_id="getApproval",
    tags=["admin"],
    summary="Read an approval",
    opt=OPERATOR,
)
async def get_approval(approval_id: FromPath[UUID], database: NamedDependency[Database]) -> Approval:
    """What was asked for, by whom, and what became of it."""
    async with database.control() as connection:
        return await store.get_approval(connection, approval_id)


@post(
    "/v1/admin/approvals/{approval_id:uuid}/grant",
    status_code=200,
    operation_id="grantApproval",
    tags=["admin"],
    summary="Grant an approval",
    opt=_DECIDE,
)
async def grant_approval(
    approval_id: FromPath[UUID], database: NamedDependency[Database], actor: NamedDependency[Actor]
) -> Approval:
    """Let whoever asked do it, once; not with the key that asked, nor with one that was made after it asked."""
    return await _decide(database, approval_id, "granted", actor)


@post(
    "/v1/admin/approvals/{approval_id:uuid}/deny",
    status_code=200,
    operation_id="denyApproval",
    tags=["admin"],
    summary="Deny an approval",
    opt=_DECIDE,
)
async def deny_approval(
    approval_id: FromPath[UUID], database: NamedDependency[Database], actor: NamedDependency[Actor]
) -> Approval:
    """Refuse a request, or take one's own back."""
    return await _decide(database, approval_id, "denied", actor)


async def _decide(database: Database, approval_id: UUID, decision: Decision, actor: Actor) -> Approval:
    async with database.control() as connection:
        return await store.decide_approval(connection, approval_id, decision, by=actor)


ROUTES: Final = (list_approvals, get_approval, grant_approval, deny_approval)
