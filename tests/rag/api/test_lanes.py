"""One tenant's requests, however many, leave room for the others'."""

import asyncio
from dataclasses import replace

import httpx
import msgspec
import psycopg
import pytest

from rag.app import create_app
from rag.limits.allowances import Allowances, default_allowance
from rag.limits.lanes import Lanes
from rag.store.limits import change_limits
from tests.rag.api.conftest import Client


@pytest.fixture
async def narrow(services, settings):
    """An application that works on one request of a tenant at a time, and on its other services."""
    one = default_allowance(msgspec.structs.replace(settings, tenant_concurrency=1))
    used = replace(services, lanes=Lanes(wait_s=0.2), allowances=Allowances(services.database, one))
    app = create_app(services=used)
    async with Client(transport=httpx.ASGITransport(app), base_url="http://cloister.test") as client:
        yield client, used.lanes


async def search(client, key, text="x"):
    return await client.call("POST", "/v1/search", key=key, json={"query": text})


async def test_a_tenant_whose_places_are_taken_waits_and_others_do_not(narrow, house, other):
    client, lanes = narrow
    await lanes.enter(house.tenant, 1)
    found = await client.problem("POST", "/v1/search", 429, "too_many_at_once", key=house.key, json={"query": "x"})
    assert int(found["headers"]["retry-after"]) >= 1
    assert "ratelimit" in found["headers"]
    assert (await search(client, other.key)).status_code == 200
    lanes.leave(house.tenant)
    assert (await search(client, house.key)).status_code == 200
    assert lanes._lanes == {}


async def test_every_way_out_gives_the_place_back(narrow, house):
    client, lanes = narrow
    for method, path, body in (
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/collections/none", None),
        ("POST", "/v1/search", {"query": 1}),
        ("POST", "/v1/collections", {"name": "new"}),
        ("DELETE", "/v1/collections/new", None),
    ):
        await client.call(method, path, key=house.key, json=body)
        assert lanes._lanes == {}, path


async def test_who_sends_slowly_holds_no_place(narrow, house):
    client, _ = narrow
    begun, end = asyncio.Event(), asyncio.Event()

    async def slowly():
        yield b'{"query":'
        begun.set()
        await end.wait()
        yield b'"x"}'

    headers = {"Content-Type": "application/json"}
    slow = asyncio.create_task(client.call("POST", "/v1/search", key=house.key, content=slowly(), headers=headers))
    await begun.wait()
    assert (await search(client, house.key)).status_code == 200
    end.set()
    assert (await slow).status_code == 200


async def test_who_may_not_call_a_route_waits_for_nothing(narrow, house):
    client, lanes = narrow
    await lanes.enter(house.tenant, 1)
    await client.problem("POST", "/v1/answers", 403, "forbidden", key=house.search_key, json={"question": "x"})
    lanes.leave(house.tenant)


async def test_an_operators_and_the_public_paths_have_no_lane_in_common_with_tenants(narrow, house, operator_key):
    client, lanes = narrow
    await lanes.enter(house.tenant, 1)
    assert (await client.call("GET", "/v1/admin/tenants", key=operator_key)).status_code == 200
    assert (await client.call("GET", "/health/ready")).status_code == 200
    lanes.leave(house.tenant)


async def test_a_tenant_has_a_width_of_its_own(narrow, house):
    client, lanes = narrow
    async with house.services.database.tenant(house.tenant) as connection:
        await change_limits(connection, house.tenant, {"concurrency": 2})
    await lanes.enter(house.tenant, 2)
    assert (await search(client, house.key)).status_code == 200
    lanes.leave(house.tenant)


async def test_a_storm_of_one_tenant_does_not_fill_the_pool(client, services, settings, house, other):
    """Every connection that a tenant may hold is held by a statement that waits; the other one's go through."""
    width = (await services.allowances.of(house.tenant)).concurrency
    assert 0 < width < settings.pool_size
    owner = await psycopg.AsyncConnection.connect(settings.secret("migration_database_url"))
    async with owner:
        await owner.execute("LOCK TABLE cloister.collections IN ACCESS EXCLUSIVE MODE")
        storm = [
            asyncio.create_task(client.call("POST", "/v1/collections", key=house.key, json={"name": f"c{number}"}))
            for number in range(40)
        ]
        lanes = services.lanes._lanes
        while house.tenant not in lanes or not lanes[house.tenant].waiting:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        assert lanes[house.tenant].held == width
        assert (await client.call("GET", "/v1/jobs", key=other.key)).status_code == 200
    statuses = [response.status_code for response in await asyncio.gather(*storm)]
    assert set(statuses) <= {201, 429}
    assert statuses.count(201) >= width


async def test_searches_go_through_beside_a_storm_of_searches(client, services, house, other):
    await other.ingest({"a": "The zebrafork stands in the hall."})
    storm = [asyncio.create_task(search(client, house.key, f"question number {number}")) for number in range(150)]
    found = [await search(client, other.key, f"zebrafork {number}") for number in range(3)]
    assert [len(response.json()["hits"]) for response in found] == [1, 1, 1]
    assert {response.status_code for response in await asyncio.gather(*storm)} <= {200, 429}
