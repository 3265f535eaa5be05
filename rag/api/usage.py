"""GET /v1/usage."""

from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from rag.api.access import allow
from rag.domain import DayOfUse, Scope
from rag.store.database import Database
from rag.store.usage import read_usage
from rag.tenancy import Principal

_MOST: Final = 10_000
Days = Annotated[int, QueryParameter(ge=1, le=366, description="How many days back, today among them.")]


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Use by day and person, newest first; `truncated` when there are more than 10,000 lines."""

    data: list[DayOfUse]
    truncated: bool


@get("/v1/usage", operation_id="getUsage", tags=["usage"], summary="Read what was used", opt=allow(Scope.MANAGE))
async def get_usage(
    principal: NamedDependency[Principal], database: NamedDependency[Database], days: Days = 30
) -> UsageReport:
    """Answers, tokens and cost by day (UTC) and person, from the answers that are still kept."""
    async with database.tenant(principal.tenant, snapshot=True) as connection:
        found = await read_usage(connection, principal.tenant, days=days, limit=_MOST + 1)
    return UsageReport(data=found[:_MOST], truncated=len(found) > _MOST)


ROUTES: Final = (get_usage,)
