"""/v1/retention: how long the tenant keeps what ages. An operator sets the same under /v1/admin/tenants."""

from typing import Final

from litestar import get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import convert, to_builtins

from rag.api.access import Cost, allow
from rag.api.schemas import RetentionPatch, RetentionSettings
from rag.domain import Retention, Scope
from rag.purge import Purger, effective
from rag.store.database import Database
from rag.store.retention import STORES, change_retention, get_retention
from rag.tenancy import Principal


@get(
    "/v1/retention",
    operation_id="getRetention",
    tags=["admin"],
    summary="Read how long things are kept",
    opt=allow(Scope.MANAGE),
)
async def read_retention(
    principal: NamedDependency[Principal], database: NamedDependency[Database], purger: NamedDependency[Purger]
) -> RetentionSettings:
    """For how many days the tenant keeps answers, jobs and superseded versions."""
    return await _kept(principal, database, purger)


@patch(
    "/v1/retention",
    operation_id="updateRetention",
    tags=["admin"],
    summary="Change how long things are kept",
    opt={**allow(Scope.MANAGE), "cost": Cost.WRITE},
)
async def update_retention(
    data: JSONBody[RetentionPatch],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    purger: NamedDependency[Purger],
) -> RetentionSettings:
    """Change it; what is older is gone within an hour or two."""
    async with database.tenant(principal.tenant) as connection:
        await change_retention(connection, principal.tenant, to_builtins(data))
    return await _kept(principal, database, purger)


async def _kept(principal: Principal, database: Database, purger: Purger) -> RetentionSettings:
    async with database.tenant(principal.tenant, snapshot=True) as connection:
        chosen = await get_retention(connection, principal.tenant)
    days = {**dict.fromkeys(STORES, 0), **effective(chosen, purger.standing)}
    return RetentionSettings(chosen=chosen, in_force=convert(days, Retention))


ROUTES: Final = (read_retention, update_retention)
