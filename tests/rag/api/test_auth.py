import pytest
from litestar.routes import HTTPRoute

from rag.app import create_app
from rag.keys import generate_key
from rag.store.keys import revoke_key

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
    for name in ("answer_id", "job_id", "key_id"):
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
