import pytest


@pytest.mark.parametrize(
    ("query", "name", "words"),
    [
        ("limt=5", "limt", "no parameter 'limt'"),
        ("=5", "", "no parameter ''"),
        ("limit=5&LIMIT=6", "LIMIT", "no parameter 'LIMIT'"),
        ("limit=5&limit=6", "limit", "more than once"),
    ],
)
async def test_a_parameter_that_would_not_be_heard_is_refused(client, house, query, name, words):
    found = await client.problem("GET", f"/v1/jobs?{query}", 422, "invalid_input", key=house.key)
    assert found["errors"][0]["pointer"] == f"/{name}"
    assert words in found["detail"]


async def test_what_the_route_takes_is_taken(client, house):
    assert (await client.call("GET", "/v1/jobs?limit=5", key=house.key)).status_code == 200


async def test_a_public_route_does_not_care(client):
    assert (await client.call("GET", "/health/live?probe=1")).status_code == 200


async def test_whoever_may_not_call_hears_that_first(client, house):
    await client.problem("GET", "/v1/jobs?x=1", 403, "forbidden", key=house.publishable_key)
