"""What is handed to the workers: ids, in the transaction of the caller, and taking turns between tenants."""

from datetime import UTC, datetime

import psycopg
import pytest
from procrastinate import App

from rag.store.delivery import INGEST_TASK, QUEUE, STATISTICS_TASK, deliver_run, deliver_statistics, workers_alive
from rag.store.ingestion import get_job, undelivered


async def waiting(app: App) -> list:
    """The queue in the order in which it is served."""
    jobs = await app.job_manager.list_jobs_async(queue=QUEUE, status="todo")
    return sorted(jobs, key=lambda job: (-job.priority, job.id))


async def test_a_delivery_carries_the_tenant_and_the_run_and_no_more(acme, absent_id):
    async with acme.connect() as connection:
        await deliver_run(acme.delivery, connection, acme.tenant, absent_id, priority=-3)
    (job,) = await waiting(acme.delivery)
    assert (job.task_name, job.priority) == (INGEST_TASK, -3)
    assert job.task_kwargs == {"tenant": str(acme.tenant), "run": str(absent_id)}
    assert (job.lock, job.queueing_lock) == (None, None), "either would let one tenant's job hold up another's"


async def test_what_is_not_committed_is_not_delivered(acme, absent_id):
    async def fail() -> None:
        async with acme.connect() as connection:
            await deliver_run(acme.delivery, connection, acme.tenant, absent_id, priority=0)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await waiting(acme.delivery) == []


async def test_tenants_take_turns_however_much_one_of_them_queues(acme, bolt):
    for n in range(6):
        await acme.put(f"doc-{n}", f"text {n}")
    for n in range(2):
        await bolt.put(f"doc-{n}", f"text {n}")
    names = {str(acme.tenant): "acme", str(bolt.tenant): "bolt"}
    order = [names[job.task_kwargs["tenant"]] for job in await waiting(acme.delivery)]
    assert order == ["acme", "bolt", "acme", "bolt", "acme", "acme", "acme", "acme"]


async def test_statistics_are_asked_for_later_and_before_other_work(acme, absent_id):
    before = datetime.now(UTC)
    async with acme.connect() as connection:
        await deliver_run(acme.delivery, connection, acme.tenant, absent_id, priority=0)
        await deliver_statistics(acme.delivery, connection, acme.tenant, delay_s=60)
    job = (await waiting(acme.delivery))[0]
    assert job.task_name == STATISTICS_TASK
    assert job.task_kwargs == {"tenant": str(acme.tenant)}
    assert (job.scheduled_at - before).total_seconds() > 50


async def test_a_worker_is_alive_while_it_gives_signs_of_life(acme, admin_url):
    async def alive() -> int:
        async with acme.database.control() as control:
            return await workers_alive(control)

    assert await alive() == 0
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(
            "INSERT INTO jobs.procrastinate_workers (last_heartbeat) "
            "VALUES (now()), (now() - interval '10 seconds'), (now() - interval '10 minutes')"
        )
    assert await alive() == 2


async def test_a_run_whose_delivery_was_lost_is_found(acme, bolt, admin_url):
    lost, kept, done = await acme.put("lost", "a"), await bolt.put("kept", "b"), await bolt.serve("done", "c")

    async def found() -> list:
        async with acme.database.control() as control:
            return await undelivered(control)

    with psycopg.connect(admin_url, autocommit=True, options="-c search_path=jobs") as admin:
        delete = "DELETE FROM jobs.procrastinate_jobs WHERE args ->> 'run' = ANY (%s)"
        admin.execute(delete, [[str(lost.job_id), str(done.job_id)]])
        assert await found() == [], "it may be on its way still"
        admin.execute("UPDATE cloister.ingest_runs SET created_at = now() - interval '2 minutes'")
    assert await found() == [(acme.tenant, lost.job_id)]
    assert kept.job_id is not None


async def test_a_run_that_has_lost_its_bytes_says_so_and_ends(acme, admin_url):
    receipt = await acme.put("doc", "text")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("DELETE FROM cloister.ingest_sources")
    assert await acme.claim(receipt) is None
    async with acme.connect() as connection:
        found = await get_job(connection, acme.tenant, receipt.job_id)
    assert (found.status, found.error.code) == ("dead", "source_lost")
