"""/metrics, for Prometheus."""

import hmac
from typing import Any, Final, get_args

from litestar import Request, Response, get
from litestar.di import NamedDependency

from rag.api.access import PUBLIC
from rag.api.auth import bearer
from rag.domain import JobState
from rag.errors import Unauthenticated, Unavailable
from rag.settings import Settings
from rag.store.database import Database
from rag.store.ingestion import totals
from rag.store.partitions import partition_totals
from rag.telemetry import JOBS, OLDEST_QUEUED, PARTITIONS, exposition, log

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@get(
    "/metrics",
    operation_id="metrics",
    tags=["health"],
    summary="Metrics in the Prometheus text format",
    media_type=MEDIA_TYPE,
    opt={**PUBLIC, "problems": (401,)},
)
async def metrics(
    request: Request[Any, Any, Any], settings: NamedDependency[Settings], database: NamedDependency[Database]
) -> Response[bytes]:
    """Counts and times of this process, and the job queue as it stands; no tenant is named."""
    if settings.metrics_token is not None:
        _check(bearer(request.scope), settings.metrics_token.reveal())
    await _measure_queue(database)
    return Response(exposition(), media_type=MEDIA_TYPE)


def _check(sent: str, token: str) -> None:
    if not hmac.compare_digest(sent.encode(), token.encode()):
        raise Unauthenticated("this takes the metrics token")


async def _measure_queue(database: Database) -> None:
    try:
        async with database.control() as connection:
            rows = {row["state"]: row for row in await totals(connection)}
            partitions = await partition_totals(connection)
    except Unavailable:
        log.warning("queue_not_measured")  # the counters of the process are worth a scrape without it
        return
    for state in get_args(JobState):
        JOBS.labels(state).set(rows[state]["runs"] if state in rows else 0)
    for state, count in partitions.items():
        PARTITIONS.labels(state).set(count)
    OLDEST_QUEUED.set(rows["queued"]["oldest_seconds"] if "queued" in rows else 0)


ROUTES: Final = (metrics,)
