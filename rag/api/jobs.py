"""/v1/jobs: what has been asked to be ingested, and how far it is."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from rag.api.access import Cost, allow
from rag.api.cursors import cut, decode_cursor
from rag.api.idempotency import REPLAYED
from rag.api.schemas import Cursor, JobPage, Limit
from rag.domain import Job, JobState, Scope
from rag.store import ingestion as store
from rag.store.database import Database
from rag.tenancy import Principal

_OPEN: Final = allow(Scope.INGEST, Scope.MANAGE)
_CHANGE: Final = {**allow(Scope.INGEST, Scope.MANAGE, cost=Cost.WRITE), **REPLAYED, "problems": (409,)}


@get("/v1/jobs", operation_id="listJobs", tags=["jobs"], summary="List jobs", opt=_OPEN)
async def list_jobs(
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    status: Annotated[JobState | None, QueryParameter(description="Only jobs in this state.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JobPage:
    """The tenant's jobs, newest first."""
    before = decode_cursor(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    async with database.tenant(principal.tenant) as connection:
        found = await store.list_jobs(connection, principal.tenant, state=status, before=before, limit=limit + 1)
    data, more, following = cut(found, limit, lambda job: (job.created_at, job.job_id))
    return JobPage(data=data, has_more=more, next_cursor=following)


@get("/v1/jobs/{job_id:uuid}", operation_id="getJob", tags=["jobs"], summary="Read a job", opt=_OPEN)
async def get_job(
    job_id: FromPath[UUID], principal: NamedDependency[Principal], database: NamedDependency[Database]
) -> Job:
    """The job, how far it is, and why it stopped if it did."""
    async with database.tenant(principal.tenant) as connection:
        return await store.get_job(connection, principal.tenant, job_id)


@post(
    "/v1/jobs/{job_id:uuid}/retry",
    status_code=200,
    operation_id="retryJob",
    tags=["jobs"],
    summary="Queue a dead or cancelled job again",
    opt=_CHANGE,
)
async def retry_job(
    job_id: FromPath[UUID],
    request: Request[Any, Any, Any],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
) -> Job:
    """Queue it again; a conflict when it is neither dead nor cancelled, or a later version replaced it."""
    async with database.tenant(principal.tenant) as connection:
        return await store.retry_job(connection, request.app.state.services.delivery, principal.tenant, job_id)


@post(
    "/v1/jobs/{job_id:uuid}/cancel",
    status_code=200,
    operation_id="cancelJob",
    tags=["jobs"],
    summary="Cancel a job that has not ended",
    opt=_CHANGE,
)
async def cancel_job(
    job_id: FromPath[UUID], principal: NamedDependency[Principal], database: NamedDependency[Database]
) -> Job:
    """Stop it; the document's present version goes on serving."""
    async with database.tenant(principal.tenant) as connection:
        return await store.cancel_job(connection, principal.tenant, job_id)


ROUTES: Final = (list_jobs, get_job, retry_job, cancel_job)
