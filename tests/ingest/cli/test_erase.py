"""`cloister erase`, also when it is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import psycopg
import pytest

from rag.services import Services
from rag.store.erasure import open_erasures
from tests.conftest import House


@pytest.fixture
def environment(settings) -> dict[str, str]:
    names = {
        "DATABASE_URL": "database_url",
        "MIGRATION_DATABASE_URL": "migration_database_url",
        "REDIS_URL": "redis_url",
    }
    urls = {name: settings.secret(field) for name, field in names.items()}
    return {**os.environ, **urls, "CLOISTER_APPROVALS": "off"}


@pytest.fixture
def cloister(environment):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ingest.cli", *arguments]
        return subprocess.run(command, env=environment, text=True, capture_output=True, check=False, timeout=120)

    return run


async def test_a_document_is_erased_and_the_receipt_printed_again(cloister, house: House):
    await house.ingest({"d": "The lever stops the wheel."})
    erase = ("erase", "document", "kb", "d", "--tenant", house.slug, "--yes", "--json")
    erased = await asyncio.to_thread(cloister, *erase)
    assert erased.returncode == 0, erased.stderr
    receipt = json.loads(erased.stdout)
    assert {store["store"]: store["removed"] for store in receipt["stores"]}["chunks"] == 1
    shown = await asyncio.to_thread(cloister, "erase", "show", receipt["erasure_id"], "--json")
    assert json.loads(shown.stdout) == receipt
    again = await asyncio.to_thread(cloister, *erase)
    assert (again.returncode, again.stderr.startswith("error: no document 'd' in 'kb'")) == (1, True)


async def test_killed_in_the_middle_of_a_step_the_same_command_goes_on(cloister, environment, house, services):
    await house.ingest({"d": "The lever stops the wheel.", "e": "The hub turns."})
    erase = ("erase", "tenant", house.slug, "--yes", "--json")
    with psycopg.connect(environment["MIGRATION_DATABASE_URL"]) as holding:
        holding.execute("SELECT FROM cloister.documents FOR KEY SHARE")  # the step that removes them has to wait
        command = [sys.executable, "-m", "ingest.cli", *erase]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: ASYNC220
        await reached(services, "documents")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ended = await asyncio.to_thread(cloister, *erase)
    assert ended.returncode == 0, ended.stderr
    counts = {store["store"]: store["removed"] for store in json.loads(ended.stdout)["stores"]}
    assert (counts["chunks"], counts["documents"], counts["tenants"]) == (2, 2, 1)


async def reached(services: Services, step: str) -> None:
    async with asyncio.timeout(60):
        while True:
            async with services.database.control() as control:
                if step in {erasure.step for erasure in await open_erasures(control)}:
                    return
            await asyncio.sleep(0.02)


async def test_how_long_a_tenant_keeps_things_is_set_and_what_is_older_purged(cloister, house, services):
    await services.answerer.answer(house.principal, question="Is anything here?")
    async with services.database.tenant(house.tenant) as connection:
        await connection.execute("UPDATE answers SET created_at = now() - interval '31 days'")
    chosen = ("tenant", "retention", house.slug, "--answers", "30d", "--jobs", "forever", "--json")
    shown = json.loads((await asyncio.to_thread(cloister, *chosen)).stdout)
    assert shown["in_force"] == {"answers_days": 30, "jobs_days": 0, "versions_days": 90}
    purged = json.loads((await asyncio.to_thread(cloister, "purge", "--tenant", house.slug, "--json")).stdout)
    assert purged == {house.slug: {"answers": 1, "document_versions": 0, "idempotency_records": 0}}
    wrong = await asyncio.to_thread(cloister, "tenant", "retention", house.slug, "--answers", "soon")
    assert wrong.returncode == 2


async def test_dead_rows_are_vacuumed(cloister):
    done = await asyncio.to_thread(cloister, "erase", "vacuum")
    assert (done.returncode, "vacuumed" in done.stderr) == (0, True)
