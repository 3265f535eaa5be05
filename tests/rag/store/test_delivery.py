"""What is handed to the workers: ids, in the transaction of the caller, and taking turns between tenants."""

from datetime import UTC, datetime

import pytest
from procrastinate import App

from rag.store.delivery import INGEST_TASK, QUEUE, STATISTICS_TASK, deliver_run, deliver_statistics, workers_alive


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
    import psycopg

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
