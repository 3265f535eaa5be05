"""Delivery of ingestion runs to workers, by procrastinate; it carries ids, and knows nothing of state."""

from typing import Final
from uuid import UUID

from procrastinate import App, PsycopgConnector

from rag.domain import TenantId
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import statement

QUEUE: Final = "ingest"
INGEST_TASK: Final = "ingest.document"
STATISTICS_TASK: Final = "ingest.statistics"
PLACEMENT_TASK: Final = "ingest.placement"

Delivery = App  # the queue, for those who hand it on without knowing what it is

_OPTIONS: Final = "-c search_path=jobs"


def delivery_app(url: str, *, size: int = 4) -> App:
    """A procrastinate app on its own pool of up to `size` connections; open and close it with `open_async`."""
    connector = PsycopgConnector(
        conninfo=url, min_size=1, max_size=size, kwargs={"options": _OPTIONS, "application_name": "cloister-jobs"}
    )
    return App(connector=connector)


async def deliver_run(app: App, connection: TenantConnection, tenant: TenantId, run: UUID, *, priority: int) -> None:
    """Hand a run to the workers when, and only if, the caller's transaction commits.

    `priority` is minus the tenant's backlog, which takes turns between tenants however much one of them queues.
    """
    task = app.configure_task(INGEST_TASK, queue=QUEUE, connection=connection, priority=priority)
    await task.defer_async(tenant=str(tenant), run=str(run))


async def deliver_statistics(app: App, connection: TenantConnection, tenant: TenantId, *, delay_s: int) -> None:
    """Have the tenant's lexeme statistics refreshed after the caller's transaction has committed."""
    task = app.configure_task(
        STATISTICS_TASK, queue=QUEUE, connection=connection, priority=1, schedule_in={"seconds": delay_s}
    )
    await task.defer_async(tenant=str(tenant))


async def deliver_placement(app: App, connection: TenantConnection, tenant: TenantId, space: str) -> None:
    """Have the tenant's vectors of a space moved to where they belong, after the caller's transaction has committed."""
    task = app.configure_task(PLACEMENT_TASK, queue=QUEUE, connection=connection, priority=1)
    await task.defer_async(tenant=str(tenant), space=space)


async def workers_alive(connection: ControlConnection) -> int:
    """How many workers have given a sign of life in the last half minute."""
    row = await (await connection.execute(statement("delivery.workers"))).fetchone()
    return int(row["alive"]) if row else 0
