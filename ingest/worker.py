"""The worker: takes runs off the queue, one process a machine or many, and recovers what a killed one left behind."""

import asyncio
import contextlib
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from procrastinate import App, BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job

from ingest.failures import TryAgain
from ingest.housekeeping import keep_house
from ingest.pipeline import Tools, ingest_document
from ingest.placement import place
from ingest.sandbox import Sandbox
from rag.domain import TenantId
from rag.errors import TenantErased
from rag.services import Services
from rag.store.corpus import refresh_statistics
from rag.store.delivery import (
    INGEST_TASK,
    PLACEMENT_TASK,
    QUEUE,
    STATISTICS_TASK,
    deliver_placement,
    deliver_run,
    deliver_statistics,
)
from rag.store.ingestion import undelivered
from rag.store.partitions import misplaced
from rag.telemetry import log, stage

_SILENT_S: Final = 30.0  # a worker without a heartbeat for this long is taken for dead
_LOOK_S: Final = 15.0
_STATISTICS_DELAY_S: Final = 2
_POLL_S: Final = 2.0
_AFTER_S: Final = 3.0


class _Again(BaseRetryStrategy):
    """Runs a task again whatever ended it: one that has nothing left to do returns, and `ingest_runs` keeps count.

    A delivery that ended with anything but its task's return would be lost, and the document with it: a stop of the
    worker, a database that is away for the moment in which the failure should be recorded.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002
        after_s = exception.after_s if isinstance(exception, TryAgain) else _AFTER_S
        return RetryDecision(retry_in={"seconds": math.ceil(after_s)})


class _Statistics:
    """Asks for a tenant's statistics to be refreshed after a burst of documents, not after each."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asked: dict[TenantId, float] = {}
        self._cost_s: dict[TenantId, float] = {}

    async def ask(self, tenant: TenantId) -> None:
        now = time.monotonic()
        if self._asked.get(tenant, 0.0) > now:
            return
        # A large tenant's refresh takes long: the longer it took, the rarer it is.
        delay = max(_STATISTICS_DELAY_S, round(10 * self._cost_s.get(tenant, 0.0)))
        self._asked[tenant] = now + delay
        async with self._services.database.tenant(tenant) as connection:
            await deliver_statistics(self._services.delivery, connection, tenant, delay_s=delay)

    async def refresh(self, tenant: TenantId) -> None:
        self._asked.pop(tenant, None)
        started = time.monotonic()
        with stage("statistics"):
            async with self._services.database.tenant(tenant, timeout_s=600) as connection:
                await refresh_statistics(connection, tenant)
        self._cost_s[tenant] = time.monotonic() - started


@asynccontextmanager
async def open_worker(services: Services) -> AsyncIterator[App]:
    """The queue with its tasks bound to these services; run it with `App.run_worker_async`."""
    settings = services.settings
    sandbox = Sandbox(timeout=settings.parse_timeout_s, children=settings.worker_concurrency)
    tools = Tools(services.database, services.encoder, sandbox, settings.worker_max_attempts)
    statistics = _Statistics(services)
    app = App(connector=services.delivery.connector)  # the tasks are this worker's; the connections are shared

    async def document(*, tenant: str, run: str) -> None:
        owner = TenantId(UUID(tenant))
        with contextlib.suppress(TenantErased):  # nothing is to be done for it any more
            if await ingest_document(tools, owner, UUID(run)):
                await statistics.ask(owner)

    async def refresh(*, tenant: str) -> None:
        with contextlib.suppress(TenantErased):
            await statistics.refresh(TenantId(UUID(tenant)))

    async def placement(*, tenant: str, space: str) -> None:
        with contextlib.suppress(TenantErased):
            await place(services.database, TenantId(UUID(tenant)), space, partition_chunks=settings.partition_chunks)

    app.task(name=INGEST_TASK, queue=QUEUE, retry=_Again())(document)
    app.task(name=STATISTICS_TASK, queue=QUEUE, retry=_Again())(refresh)
    app.task(name=PLACEMENT_TASK, queue=QUEUE, retry=_Again())(placement)
    try:
        yield app
    finally:
        await sandbox.close()


async def work(services: Services, *, until_idle: bool = False, signals: bool = False) -> None:
    """Serve the queue until cancelled; `until_idle` returns once it is empty, `signals` makes SIGTERM stop it."""
    settings = services.settings
    async with open_worker(services) as app:
        beside = [asyncio.create_task(_recover(services, app)), asyncio.create_task(keep_house(services))]
        try:
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=settings.worker_concurrency,
                wait=not until_idle,
                fetch_job_polling_interval=_POLL_S,
                shutdown_graceful_timeout=settings.drain_timeout_s,
                delete_jobs="always",
                install_signal_handlers=signals,
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


def yield_to_others() -> None:
    """Let searches on the same machine go before ingestion."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)


async def _recover(services: Services, app: App) -> None:
    # What a killed worker was doing stays `doing` until somebody looks, and somebody must go on looking.
    looks: tuple[Callable[[], Awaitable[None]], ...] = (
        lambda: _take_over_stalled(app),
        lambda: _deliver_undelivered(services),
        lambda: _deliver_misplaced(services),
    )
    while True:
        for look in looks:
            try:
                await look()
            except Exception as error:  # noqa: BLE001 - see above
                log.warning("recovery_failed", error=type(error).__name__)
        await asyncio.sleep(_LOOK_S)


async def _take_over_stalled(app: App) -> None:
    for job in await app.job_manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=_SILENT_S):
        await app.job_manager.retry_job(job, retry_at=datetime.now(UTC))
        log.warning("job_recovered", job=job.id, task=job.task_name)


async def _deliver_undelivered(services: Services) -> None:
    async with services.database.control() as control:
        lost = await undelivered(control)
    for tenant, run in lost:
        with contextlib.suppress(TenantErased):
            async with services.database.tenant(tenant) as connection:
                await deliver_run(services.delivery, connection, tenant, run, priority=0)
            log.warning("run_delivered_again", run=str(run))


async def _deliver_misplaced(services: Services) -> None:
    async with services.database.control() as control:
        found = await misplaced(control, partition_chunks=services.settings.partition_chunks)
    for tenant, space in found:
        async with services.database.tenant(tenant, erased=True) as connection:  # its empty partition is to go too
            await deliver_placement(services.delivery, connection, tenant, space)
