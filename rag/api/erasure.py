"""/v1/admin/erasure: erasures and their receipts, for operators."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from rag.api.access import OPERATOR, Cost
from rag.api.cursors import cut, decode_cursor
from rag.api.idempotency import REPLAYED
from rag.api.schemas import ApprovalId, Cursor, ErasurePage, ErasureRequest, Limit
from rag.domain import Erasure
from rag.erasure import Eraser
from rag.errors import Unavailable
from rag.store import erasure as store
from rag.store.database import Database

_PATH: Final = "/v1/admin/erasure"
_WHILE_S: Final = 5.0  # what a request goes on for; a worker finishes what is left


@post(
    _PATH,
    operation_id="erase",
    tags=["admin"],
    summary="Erase a tenant, a document or what a person asked",
    status_code=202,
    opt={**OPERATOR, **REPLAYED, "cost": Cost.WRITE, "problems": (404, 409), "location": True},
)
async def erase(
    data: JSONBody[ErasureRequest], eraser: NamedDependency[Eraser], approval: ApprovalId = None
) -> Response[Erasure]:
    """Begin an erasure, or go on with the same one; what is not finished in a few seconds, a worker finishes.

    The erasure of a tenant is a privileged act.
    """
    if data.kind == "document":
        begun = await eraser.begin_document(data.tenant, data.collection or "", data.external_id or "")
    elif data.kind == "user":
        begun = await eraser.begin_user(data.tenant, data.user or "")
    else:
        begun = await eraser.begin_tenant(data.tenant, approval=approval)
    after = await run_a_while(eraser, begun)
    return Response(after, headers={"Location": receipt_of(after)})


@get(_PATH, operation_id="listErasures", tags=["admin"], summary="List erasures", opt=OPERATOR)
async def list_erasures(database: NamedDependency[Database], limit: Limit = 20, cursor: Cursor = None) -> ErasurePage:
    """Erasures of all tenants with their receipts, newest first."""
    before = decode_cursor(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    async with database.control() as connection:
        found = await store.list_erasures(connection, before=before, limit=limit + 1)
    data, more, following = cut(found, limit, lambda erasure: (erasure.started_at, erasure.erasure_id))
    return ErasurePage(data=data, has_more=more, next_cursor=following)


@get(
    f"{_PATH}/{{erasure_id:uuid}}",
    operation_id="getErasure",
    tags=["admin"],
    summary="Read how far an erasure is, or its receipt",
    opt=OPERATOR,
)
async def get_erasure(erasure_id: FromPath[UUID], eraser: NamedDependency[Eraser]) -> Erasure:
    """What it has removed from every store, and once it is finished what is left there."""
    return await eraser.get(erasure_id)


async def run_a_while(eraser: Eraser, begun: Erasure) -> Erasure:
    """Go on with an erasure for a few seconds; what it cannot reach now, a worker tries again."""
    try:
        return await eraser.run(begun, within_s=_WHILE_S)
    except Unavailable:
        return await eraser.get(begun.erasure_id)


def receipt_of(erasure: Erasure) -> str:
    """Where the receipt is."""
    return f"{_PATH}/{erasure.erasure_id}"


ROUTES: Final = (erase, list_erasures, get_erasure)
