import msgspec

from rag.domain import Retention
from rag.purge import Purger, effective, standing_retention
from rag.store.retention import change_retention
from rag.telemetry import ROWS_REMOVED

STANDING = Retention(answers_days=90, jobs_days=30, versions_days=90)


def test_a_choice_goes_before_the_installation_and_nought_is_for_ever():
    assert effective(Retention(), STANDING) == {"answers_days": 90, "jobs_days": 30, "versions_days": 90}
    assert effective(Retention(answers_days=0, jobs_days=1), STANDING) == {"jobs_days": 1, "versions_days": 90}


def test_the_installations_days_are_its_settings(settings):
    chosen = msgspec.structs.replace(settings, retention_jobs_days=7)
    assert standing_retention(chosen) == Retention(answers_days=90, jobs_days=7, versions_days=90)


async def aged(house, days: int) -> None:
    async with house.services.database.tenant(house.tenant) as connection:
        await connection.execute(f"UPDATE answers SET created_at = now() - interval '{days} days'")


async def answers(house) -> int:
    async with house.services.database.tenant(house.tenant) as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM answers")).fetchone()
        return row["n"]


async def test_what_is_due_is_purged_in_batches_and_once_an_hour(services, house, other):
    for _ in range(5):
        await services.answerer.answer(house.principal, question="Is anything here?")
        await services.answerer.answer(other.principal, question="Is anything here?")
    await aged(house, 91)
    purger = Purger(services.database, STANDING, batch=2)
    before = ROWS_REMOVED.labels("answers", "age")._value.get()
    assert await purger.purge_due() == 2
    assert (await answers(house), await answers(other)) == (0, 5)
    assert ROWS_REMOVED.labels("answers", "age")._value.get() == before + 5
    assert await purger.purge_due() == 0
    await aged(other, 91)
    assert await purger.purge(other.tenant) == {
        "answers": 5,
        "ingest_runs": 0,
        "document_versions": 0,
        "idempotency_records": 0,
    }


async def test_what_a_tenant_keeps_for_ever_stays(services, house):
    await services.answerer.answer(house.principal, question="Is anything here?")
    await aged(house, 10_000)
    async with services.database.tenant(house.tenant) as connection:
        await change_retention(connection, house.tenant, {"answers_days": 0})
    assert "answers" not in await services.purger.purge(house.tenant)
    assert await answers(house) == 1


async def test_a_tenant_that_is_being_erased_is_left_alone(services, house):
    await services.eraser.begin_tenant(house.slug)
    assert await services.purger.purge_due() == 0
    assert await services.purger.purge(house.tenant) == {}
