import httpx
import msgspec
import pytest

from rag.app import create_app
from rag.services import open_services
from rag.settings import Secret


def sample(text, name):
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def test_the_metrics_hold_the_queue_as_it_stands(client, house):
    receipts = [await house.put(name, "The zebrafork.") for name in ("a", "b")]
    await client.call("POST", f"/v1/jobs/{receipts[0].job_id}/cancel", key=house.key)
    response = await client.call("GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert sample(response.text, 'cloister_jobs{state="queued"}') == 1
    assert sample(response.text, 'cloister_jobs{state="cancelled"}') == 1
    assert sample(response.text, 'cloister_jobs{state="dead"}') == 0
    assert sample(response.text, "cloister_oldest_queued_seconds") > 0
    assert "acme" not in response.text
    await house.ingest({})
    text = (await client.call("GET", "/metrics")).text
    assert sample(text, 'cloister_jobs{state="queued"}') == 0
    assert sample(text, "cloister_oldest_queued_seconds") == 0


async def test_a_scrape_without_the_database_gives_what_the_process_knows(client, services):
    await services.database.close()
    response = await client.call("GET", "/metrics")
    assert response.status_code == 200
    assert "cloister_requests_total" in response.text


@pytest.fixture
async def guarded(settings):
    async with open_services(msgspec.structs.replace(settings, metrics_token=Secret("scrape-me"))) as services:
        transport = httpx.ASGITransport(create_app(services=services))
        async with httpx.AsyncClient(transport=transport, base_url="http://cloister.test") as client:
            yield client


async def test_a_token_guards_them_when_there_is_one(guarded):
    for header, status in (("Bearer scrape-me", 200), ("Bearer scrape-mé", 401), ("Bearer x", 401), ("", 401)):
        response = await guarded.get("/metrics", headers={"Authorization": header.encode()})
        assert response.status_code == status, header
        if status == 401:
            assert response.json()["code"] == "unauthenticated"
            assert response.headers["www-authenticate"].startswith("Bearer")
