"""The worker loses nothing: not when it is stopped, not when a delivery is."""

import asyncio
from contextlib import suppress

from ingest.worker import _deliver_undelivered, work
from rag.domain import Job
from rag.services import Services
from rag.store.ingestion import Receipt, get_job
from tests.conftest import House, drain, make_house


async def job_of(house: House, receipt: Receipt) -> Job:
    assert receipt.job_id is not None
    async with house.services.database.tenant(house.tenant) as connection:
        return await get_job(connection, house.tenant, receipt.job_id)


async def until(house: House, receipt: Receipt, status: str) -> None:
    async with asyncio.timeout(60):
        while (await job_of(house, receipt)).status != status:  # noqa: ASYNC110 - it happens in a database
            await asyncio.sleep(0.05)


async def forget_deliveries(services: Services) -> None:
    async with services.database.control() as connection:
        await connection.execute("DELETE FROM jobs.procrastinate_jobs")


async def test_a_document_under_way_when_the_worker_is_stopped_is_taken_up_by_the_next(house: House):
    receipt = await house.put("long", "\n\n".join(f"## Part {n}\n\nThe lever number {n} moves." for n in range(400)))
    worker = asyncio.create_task(work(house.services))
    await until(house, receipt, "running")
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker
    await asyncio.sleep(4)  # it is to be tried again after three seconds
    await drain(house.services)
    assert (await job_of(house, receipt)).status == "succeeded"


async def test_an_open_run_whose_delivery_was_lost_is_delivered_again(house: House):
    lost, done = await house.put("lost", "The lever moves."), await house.put("done", "The wheel turns.")
    await forget_deliveries(house.services)
    async with house.services.database.tenant(house.tenant) as connection:
        await connection.execute("UPDATE ingest_runs SET created_at = now() - interval '2 minutes'")
        await connection.execute("UPDATE ingest_runs SET state = 'succeeded' WHERE run_id = %s", [done.job_id])
    await _deliver_undelivered(house.services)
    async with house.services.database.control() as connection:
        rows = await (await connection.execute("SELECT args ->> 'run' AS run FROM jobs.procrastinate_jobs")).fetchall()
    assert [row["run"] for row in rows] == [str(lost.job_id)]
    await drain(house.services)
    assert (await job_of(house, lost)).status == "succeeded"


async def test_tenants_take_turns_whatever_one_of_them_has_queued(services: Services):
    crowd, single = await make_house(services, "crowd"), await make_house(services, "single")
    for number in range(6):
        await crowd.put(f"d{number}", f"The lever number {number} moves.")
    await single.put("only", "The wheel turns.")
    async with services.database.control() as connection:
        cursor = await connection.execute(
            "SELECT args ->> 'tenant' AS tenant FROM jobs.procrastinate_jobs ORDER BY priority DESC, id"
        )
        order = [row["tenant"] for row in await cursor.fetchall()]
    assert order.index(str(single.tenant)) <= 1


async def test_a_job_whose_tenant_is_gone_ends_quietly(house: House, services: Services):
    await house.put("d", "The lever moves.")
    async with services.database.control() as connection:
        await connection.execute("SELECT delete_tenant(%s)", [house.tenant])
    await drain(services)
    async with services.database.control() as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM jobs.procrastinate_jobs")).fetchone()
    assert row is not None
    assert row["n"] == 0
