import re
from contextlib import AsyncExitStack
from itertools import pairwise

import httpx
import msgspec
import pytest

from rag.api.limits import headers
from rag.app import create_app
from rag.cache.buckets import Level
from rag.limits.rates import Standing, Verdict
from rag.services import open_services
from rag.settings import Secret
from rag.store.limits import change_limits
from rag.telemetry import REGISTRY
from tests.rag.api.conftest import Client

POLICY = re.compile(r'"[a-z]+";q=\d+;w=60(, "[a-z]+";q=\d+;w=60)*')
LEVEL = re.compile(r'"[a-z]+";r=\d+;t=\d+(, "[a-z]+";r=\d+;t=\d+)*')


@pytest.fixture
async def open_client(settings):
    """Open an application under changed settings; without Valkey unless told, so that a late answer changes nothing."""
    async with AsyncExitStack() as stack:

        async def opened(**changes):
            used = msgspec.structs.replace(settings, **{"redis_url": None, **changes})
            services = await stack.enter_async_context(open_services(used))
            transport = httpx.ASGITransport(create_app(services=services))
            client = await stack.enter_async_context(Client(transport=transport, base_url="http://cloister.test"))
            client.services = services
            return client

        yield opened


@pytest.fixture
async def client(open_client):
    return await open_client()


async def limit(house, **limits):
    async with house.services.database.tenant(house.tenant) as connection:
        await change_limits(connection, house.tenant, limits)


def left(response):
    return {name: int(units) for name, units in re.findall(r'"(\w+)";r=(\d+)', response.headers["ratelimit"])}


async def search(client, key):
    return await client.call("POST", "/v1/search", key=key, json={"query": "x"})


async def test_every_answer_says_what_is_left_errors_too(client, house, operator_key):
    calls = [
        ("POST", "/v1/search", house.key, {"query": "x"}, 200),
        ("POST", "/v1/search", house.key, {"query": 1}, 422),
        ("POST", "/v1/answers", house.search_key, {"question": "x"}, 403),
        ("GET", "/v1/collections/none", house.key, None, 404),
        ("PUT", "/v1/search", house.key, {}, 405),
        ("GET", "/v1/admin/tenants", operator_key, None, 200),
    ]
    for method, path, key, body, status in calls:
        response = await client.call(method, path, key=key, json=body)
        assert response.status_code == status
        if status != 405:  # no route, so nobody has looked at the key
            assert POLICY.fullmatch(response.headers["ratelimit-policy"]), path
            assert LEVEL.fullmatch(response.headers["ratelimit"]), path


async def test_valkey_keeps_them(open_client, settings, house):
    client = await open_client(redis_url=settings.redis_url)

    def shared():
        return REGISTRY.get_sample_value("cloister_limit_checks_total", {"kept": "shared"}) or 0.0

    before = shared()
    for _ in range(5):  # one that came late is no failure
        await search(client, house.key)
    assert shared() > before


async def test_what_is_public_is_not_limited_and_says_nothing(client):
    for path in ("/health/live", "/health/ready", "/metrics", "/schema/openapi.json", "/problems/not_found"):
        response = await client.call("GET", path)
        assert response.status_code == 200
        assert not {"ratelimit", "ratelimit-policy", "retry-after"} & set(response.headers)


async def test_an_answer_costs_more_than_a_search_and_a_record_little(client, house):
    await limit(house, key_units=1000, tenant_units=0)
    costs = []
    for method, path, body in (
        ("GET", "/v1/jobs", None),
        ("POST", "/v1/search", {"query": "x"}),
        ("POST", "/v1/collections", {"name": "new"}),
        ("POST", "/v1/answers", {"question": "x"}),
    ):
        before = left(await client.call("GET", "/v1/jobs", key=house.search_key))  # another key of the tenant
        response = await client.call(method, path, key=house.key, json=body)
        assert response.status_code < 300, response.text
        assert set(before) == {"key"}
        costs.append(left(response)["key"])
    spent = [1000 - costs[0], *(a - b for a, b in pairwise(costs))]
    for found, expected in zip(spent, (1, 5, 10, 25), strict=True):
        assert expected - 10 <= found <= expected  # units come back meanwhile
    assert spent[3] > spent[1]


async def test_over_the_limit_it_is_a_429_that_says_when_to_come_back(client, house, other):
    await limit(house, key_units=6)  # a unit comes back in ten seconds
    assert (await search(client, house.key)).status_code == 200
    found = await client.problem("POST", "/v1/search", 429, "rate_limited", key=house.key, json={"query": "x"})
    assert found["detail"] == "this key has used up its 6 units a minute"
    assert 30 <= int(found["headers"]["retry-after"]) <= 40
    assert '"key";q=6;w=60' in found["headers"]["ratelimit-policy"]
    assert left(await client.call("GET", "/v1/jobs", key=house.key))["key"] <= 1
    assert (await search(client, house.search_key)).status_code == 200
    assert (await search(client, other.key)).status_code == 200


async def test_the_tenants_limit_holds_for_its_keys_together(client, house, other):
    await limit(house, tenant_units=6)
    assert (await search(client, house.key)).status_code == 200
    found = await client.problem(
        "POST", "/v1/search", 429, "rate_limited", key=house.publishable_key, json={"query": "x"}
    )
    assert found["detail"].startswith("this tenant ")
    assert (await search(client, other.key)).status_code == 200


async def test_a_refused_request_is_not_looked_at(client, house):
    await limit(house, key_units=1)
    await client.call("GET", "/v1/jobs", key=house.key)
    await client.services.database.close()
    await client.problem("POST", "/v1/search", 429, "rate_limited", key=house.key, content=b"not even json")


async def test_without_limits_there_are_no_headers(client, house):
    await limit(house, tenant_units=0, key_units=0)
    assert "ratelimit" not in (await search(client, house.key)).headers


async def test_ids_that_there_are_not_are_guessed_so_often_and_no_more(open_client, house, other, absent_id):
    client = await open_client(limit_unknown_ids=3)
    path = f"/v1/jobs/{absent_id}"
    for _ in range(3):
        await client.problem("GET", path, 404, "not_found", key=house.key)
    found = await client.problem("GET", path, 429, "too_many_failures", key=house.key)
    assert int(found["headers"]["retry-after"]) >= 1
    assert (await search(client, house.key)).status_code == 200
    await client.problem("GET", path, 404, "not_found", key=other.key)
    await client.services.database.close()
    await client.problem("GET", path, 429, "too_many_failures", key=house.key)


async def test_when_valkey_is_gone_the_process_limits_by_itself_at_once(open_client, house, tmp_path):
    client = await open_client(redis_url=Secret(f"unix://{tmp_path}/gone.sock"))
    await limit(house, key_units=6)
    assert (await search(client, house.key)).json()["cache"] == "bypass"
    await client.problem("POST", "/v1/search", 429, "rate_limited", key=house.key, json={"query": "x"})


def test_the_headers_are_structured_lists():
    standings = [Standing("tenant", 9, Level(True, 4, 0.0, 33.2)), Standing("key", 5, Level(False, 0, 2.0, 60.0))]
    assert dict(headers(Verdict(standings, standings[1]))) == {
        b"ratelimit-policy": b'"tenant";q=9;w=60, "key";q=5;w=60',
        b"ratelimit": b'"tenant";r=4;t=34, "key";r=0;t=60',
    }
    assert dict(headers(Verdict([], None))) == {}


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_stranger_is_told_nothing(client, method):
    response = await client.call(method, "/v1/jobs", key="clo_sk_nonsense")
    assert "ratelimit" not in response.headers
