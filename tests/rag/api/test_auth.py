import asyncio

import httpx
import msgspec
import pytest
from litestar.routes import HTTPRoute

from rag.app import create_app
from rag.keys import generate_key
from rag.services import open_services
from rag.store.keys import revoke_key
from tests.rag.api.conftest import Client

PUBLIC = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/problems/{code}",
    "/schema",
    "/schema/openapi.json",
    "/schema/start.js",
    "/schema/ui/{name}",
}


def every_route(services):
    for route in create_app(services=services).routes:
        assert isinstance(route, HTTPRoute)
        for method in sorted(route.methods):
            yield method, route.path_format


def filled(template):
    for name in ("answer_id", "erasure_id", "job_id", "key_id", "approval_id"):
        template = template.replace(f"{{{name}}}", "00000000-0000-4000-8000-000000000000")
    return template.replace("{", "").replace("}", "")


async def test_every_route_but_the_public_ones_wants_a_key(client, services):
    closed = 0
    for method, template in every_route(services):
        if template in PUBLIC and method != "OPTIONS":
            continue
        found = await client.call(method, filled(template))
        assert found.status_code == 401, (method, template)
        assert found.headers["www-authenticate"].startswith("Bearer")
        assert found.json()["code"] == "unauthenticated"
        closed += 1
    assert closed > 40


async def test_the_public_ones_are_open(client, services):
    templates = {template for _, template in every_route(services)}
    assert templates >= PUBLIC
    for template in PUBLIC:
        path = template.replace("{code}", "not_found").replace("{name}", "swagger-ui.css")
        assert (await client.call("GET", path)).status_code == 200, template


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer clo_sk_nonsense",
        "Bearer {unknown}",
        "Bearer {key}x",
        "Bearer {key} {key}",
        "Bearer \xe9",
    ],
)
async def test_what_is_not_a_key_is_refused(client, house, header):
    sent = header.format(key=house.key, unknown=generate_key("secret")).encode("latin-1")
    await client.problem("GET", "/v1/jobs", 401, "unauthenticated", headers={"Authorization": sent})


async def test_two_authorization_headers_are_refused(client, house, other):
    headers = [("Authorization", f"Bearer {house.key}"), ("Authorization", f"Bearer {other.key}")]
    assert (await client.request("GET", "/v1/jobs", headers=headers)).status_code == 401


async def test_the_scheme_is_spelled_as_the_caller_likes(client, house):
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = await client.call("GET", "/v1/jobs", headers={"Authorization": f"{scheme} {house.key}"})
        assert response.status_code == 200


async def test_a_key_anywhere_else_is_no_key(client, house):
    await client.problem("GET", f"/v1/jobs?key={house.key}&api_key={house.key}", 401, "unauthenticated")
    elsewhere = {"X-API-Key": house.key, "Cookie": f"Authorization=Bearer {house.key}"}
    await client.problem("GET", "/v1/jobs", 401, "unauthenticated", headers=elsewhere)


async def test_a_revoked_key_is_refused(client, services, house):
    async with services.database.tenant(house.tenant) as connection:
        await revoke_key(connection, house.tenant, house.principal.key_id)
    await client.problem("GET", "/v1/jobs", 401, "unauthenticated", key=house.key)


async def test_the_tenant_is_the_keys_whatever_the_request_says(client, house, other):
    await house.ingest({"mine": "The zebrafork stands in the hall."})
    named = {"X-Tenant": "acme", "X-Tenant-ID": str(house.tenant)}
    response = await client.call("POST", "/v1/search", key=other.key, json={"query": "zebrafork"}, headers=named)
    assert response.json()["hits"] == []
    await client.problem(
        "POST", "/v1/search?tenant=acme", 422, "invalid_input", key=other.key, json={"query": "zebrafork"}
    )


@pytest.fixture
async def wary(settings):
    """Calls an application that bears three invalid keys a minute from an address, behind a proxy at 10.0.0.1."""
    # Without Valkey: one that is late now and then would let three more through.
    used = msgspec.structs.replace(settings, limit_invalid_keys=3, trusted_proxies="10.0.0.1", redis_url=None)
    async with open_services(used) as services:
        transport = httpx.ASGITransport(create_app(services=services), client=("10.0.0.1", 4711))
        async with Client(transport=transport, base_url="http://cloister.test") as client:
            client.services = services
            yield client


async def guess(client, address, key=None):
    headers = {"X-Forwarded-For": address}
    return await client.call("GET", "/v1/jobs", key=key or generate_key("secret"), headers=headers)


async def test_who_tries_many_keys_is_refused_before_the_database_is_asked(wary):
    guesser = "192.0.2.1"
    for key in (None, "clo_sk_nonsense", None):
        assert (await guess(wary, guesser, key)).status_code == 401
    refused = await guess(wary, guesser)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_failures")
    assert int(refused.headers["retry-after"]) >= 1
    await wary.services.database.close()
    assert (await guess(wary, guesser)).status_code == 429


async def test_a_flood_of_invalid_keys_locks_no_good_one_out(wary, house):
    guesser, elsewhere = "192.0.2.1", "192.0.2.2"
    seen = house.search_key
    assert (await wary.call("POST", "/v1/search", key=seen, json={"query": "x"})).status_code == 200
    found = [response.status_code for response in await asyncio.gather(*(guess(wary, guesser) for _ in range(30)))]
    assert found.count(401) == 3
    assert found.count(429) == 27
    assert (await guess(wary, elsewhere, house.key)).status_code == 200
    body = {"json": {"query": "x"}, "headers": {"X-Forwarded-For": guesser}}
    assert (await wary.call("POST", "/v1/search", key=seen, **body)).status_code == 200


async def test_no_key_at_all_is_no_guess(wary):
    visitor = "192.0.2.1"
    for _ in range(10):
        assert (await wary.call("GET", "/v1/jobs", headers={"X-Forwarded-For": visitor})).status_code == 401


async def test_good_keys_from_one_address_are_not_counted(wary, house, other):
    office = "192.0.2.1"
    for key in (house.key, house.search_key, other.key, other.search_key, house.publishable_key):
        assert (await guess(wary, office, key)).status_code in {200, 403}
