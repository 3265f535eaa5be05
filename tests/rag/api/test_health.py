import httpx
import msgspec

from rag.app import create_app
from rag.services import open_services


async def test_a_process_that_answers_is_alive(client):
    assert (await client.call("GET", "/health/live")).json() == {"status": "ok"}


async def test_everything_there_is_ready(client):
    response = await client.call("GET", "/health/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert {"postgres", "cache", "encoder"} <= set(response.json()["checks"])


async def test_without_a_cache_it_is_degraded_and_serves(settings):
    async with open_services(msgspec.structs.replace(settings, redis_url=None)) as services:
        transport = httpx.ASGITransport(create_app(services=services))
        async with httpx.AsyncClient(transport=transport, base_url="http://cloister.test") as client:
            response = await client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["cache"] != "ok"
    assert response.json()["checks"]["postgres"] == "ok"


async def test_without_a_database_it_is_not_ready_and_alive_all_the_same(client, services):
    await services.database.close()
    found = await client.problem("GET", "/health/ready", 503, "unavailable")
    assert "postgres" in found["detail"]
    assert "encoder" not in found["detail"]
    assert int(found["headers"]["retry-after"]) >= 1
    assert (await client.call("GET", "/health/live")).status_code == 200


async def test_without_an_encoder_it_is_not_ready(client, services):
    await services.encoder.close()
    found = await client.problem("GET", "/health/ready", 503, "unavailable")
    assert "encoder" in found["detail"]
