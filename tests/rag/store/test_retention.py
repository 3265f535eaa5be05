import asyncio
from uuid import uuid4

from rag.domain import Answer, Citation, Retention, Usage
from rag.store.answers import keep_answer
from rag.store.retention import change_retention, claim_purges, get_retention, purge_batch


def answer_quoting(document, version: int) -> Answer:
    quoted = Citation(
        number=1, chunk_id=uuid4(), document_id=document, document_version=version, title=None, uri=None,
        heading_path=[], page=None, quote="q", start=0, end=1,
    )  # fmt: skip
    return Answer(
        id=uuid4(), status="answered", text="t", sentences=[], citations=[quoted], refusal=None, confidence=1.0,
        gateway="extractive", model=None, usage=Usage(), took_ms=1.0, request_id="",
    )  # fmt: skip


async def keep(owner, answer: Answer) -> None:
    async with owner.connect() as connection:
        await keep_answer(
            connection, owner.tenant, answer, key=uuid4(), question="why?", corpus_version=1, space="minilm_l6_v2",
            passages=[],
        )  # fmt: skip


async def age(owner, table: str, days: int, *, where: str = "true") -> None:
    """Make rows older than they are."""
    async with owner.connect() as connection:
        await connection.execute(
            f"UPDATE {table} SET created_at = created_at - make_interval(days => {days}) WHERE {where}"
        )
        if table == "ingest_runs":
            await connection.execute(f"UPDATE {table} SET finished_at = finished_at - make_interval(days => {days})")


async def purge(owner, what: str, days: int, limit: int = 100) -> int:
    async with owner.connect() as connection:
        return await purge_batch(connection, owner.tenant, what, days=days, limit=limit)


async def versions(owner) -> list[int]:
    async with owner.connect() as connection:
        rows = await (await connection.execute("SELECT version FROM document_versions ORDER BY 1")).fetchall()
    return [row["version"] for row in rows]


async def test_a_tenant_that_never_chose_goes_by_the_installation(acme):
    async with acme.connect() as connection:
        assert await get_retention(connection, acme.tenant) == Retention()
        await change_retention(connection, acme.tenant, {"answers_days": 3})
        await change_retention(connection, acme.tenant, {"answers_days": 4, "jobs_days": 0})
        assert await get_retention(connection, acme.tenant) == Retention(answers_days=4, jobs_days=0)


async def test_a_tenant_is_given_to_one_worker_in_a_while(acme, bolt):
    async def claim() -> list:
        async with acme.database.control() as control:
            return await claim_purges(control, every_s=3600, limit=100)

    taken = await asyncio.gather(*(claim() for _ in range(3)))
    assert sorted(tenant for one in taken for tenant in one) == sorted([acme.tenant, bolt.tenant])
    async with acme.connect() as connection:
        await connection.execute("UPDATE retention SET purged_at = now() - interval '2 hours'")
    assert await claim() == [acme.tenant]


async def test_a_claim_keeps_what_the_tenant_has_chosen(acme):
    async with acme.connect() as connection:
        await change_retention(connection, acme.tenant, {"answers_days": 3})
    async with acme.database.control() as control:
        await claim_purges(control, every_s=3600, limit=100)
    async with acme.connect() as connection:
        assert await get_retention(connection, acme.tenant) == Retention(answers_days=3)


async def test_answers_go_by_their_age_and_in_batches(acme):
    receipt = await acme.serve("d", "text")
    for _ in range(3):
        await keep(acme, answer_quoting(receipt.document_id, 1))
    await age(acme, "answers", 10)
    await keep(acme, answer_quoting(receipt.document_id, 1))
    assert await purge(acme, "answers_days", 11) == 0
    assert [await purge(acme, "answers_days", 9, limit=2) for _ in range(3)] == [2, 1, 0]


async def test_jobs_go_once_they_have_ended_and_with_their_bytes(acme):
    await acme.serve("served", "text")
    await acme.kill(await acme.put("dead", "bytes"))
    await acme.put("waits", "bytes")
    await age(acme, "ingest_runs", 10)
    assert await purge(acme, "jobs_days", 11) == 0
    assert await purge(acme, "jobs_days", 9) == 2
    async with acme.connect() as connection:
        runs = await (await connection.execute("SELECT external_id FROM ingest_runs")).fetchall()
        sources = await (await connection.execute("SELECT count(*) AS n FROM ingest_sources")).fetchone()
    assert ([row["external_id"] for row in runs], sources["n"]) == (["waits"], 1)


async def test_of_versions_only_those_go_that_were_superseded_long_ago_and_that_no_answer_quotes(acme):
    for number in range(1, 6):
        receipt = await acme.serve("d", f"text {number}")
    await keep(acme, answer_quoting(receipt.document_id, 2))
    await age(acme, "document_versions", 10, where="version <= 4")
    # 4 is as old as 3, but served until a moment ago: an answer under way may still quote it.
    assert await purge(acme, "versions_days", 11) == 0
    assert await purge(acme, "versions_days", 9, limit=1) == 1
    assert await purge(acme, "versions_days", 9) == 1
    assert await versions(acme) == [2, 4, 5]


async def test_the_serving_version_stays_however_old_it_is(acme):
    await acme.serve("d", "text")
    await age(acme, "document_versions", 1000)
    assert await purge(acme, "versions_days", 1) == 0
