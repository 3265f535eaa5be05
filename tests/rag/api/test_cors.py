"""Pages of other origins, and the keys that let them in."""

import time

import jwt
import pytest

from rag.domain import Scope
from rag.store.keys import create_key, create_signing_secret, revoke_key
from tests.rag.api.test_access import OPEN_TO, filled

SHOP, EVIL = "https://shop.example", "https://evil.example"
READABLE = {"Idempotency-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID"}


@pytest.fixture
async def widget(services, house):
    """A publishable key for one origin: its text, its id, its signing secret."""
    async with services.database.tenant(house.tenant) as connection:
        key, key_id = await create_key(
            connection, house.tenant, kind="publishable", scopes=[Scope.SEARCH], origins=[SHOP, "http://localhost:3000"]
        )
        return key, key_id, await create_signing_secret(connection, house.tenant, key_id)


async def search(client, key, *origins, body=None):
    headers = [("Authorization", f"Bearer {key}"), *(("Origin", origin) for origin in origins)]
    return await client.request("POST", "/v1/search", headers=headers, json={"query": "x"} if body is None else body)


async def preflight(client, path, origin=SHOP, method="POST"):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }
    return await client.call("OPTIONS", path, headers=asked)


def cors_of(response):
    return {name for name in response.headers if name.startswith("access-control-")}


# ---------------------------------------------------------------- the request itself


async def test_a_page_of_a_listed_origin_is_answered_and_may_read_it(client, widget):
    for origin in (SHOP, "http://localhost:3000"):
        response = await search(client, widget[0], origin)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["vary"] == "Origin"
        assert set(response.headers["access-control-expose-headers"].split(", ")) == READABLE
        assert "access-control-allow-credentials" not in response.headers


async def test_what_goes_wrong_may_be_read_too(client, widget):
    response = await search(client, widget[0], SHOP, body={"query": ""})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (422, SHOP)
    response = await search(client, widget[0], SHOP, body={"query": "x", "explain": True})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (403, SHOP)


@pytest.mark.parametrize(
    "origins",
    [
        [EVIL], ["null"], [""], ["*"], ["http://shop.example"], ["https://shop.example:444"], ["https://shop.example/"],
        ["https://SHOP.example"], ["https://shop.example.evil.example"], ["https://evil.example https://shop.example"],
        [SHOP, EVIL], [EVIL, SHOP], ["https://sh\xf6p.example".encode("latin-1")],
    ],
)  # fmt: skip
async def test_a_page_of_any_other_origin_is_refused(client, widget, origins):
    response = await search(client, widget[0], *origins)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert cors_of(response) == set()


async def test_the_same_origin_twice_is_answered_without_a_word_to_the_browser(client, widget):
    response = await search(client, widget[0], SHOP, SHOP)
    assert (response.status_code, cors_of(response)) == (200, set())


async def test_a_key_without_origins_works_outside_of_browsers_only(client, house):
    assert (await search(client, house.publishable_key)).status_code == 200
    for origin in (SHOP, "null", "http://cloister.test"):
        assert (await search(client, house.publishable_key, origin)).status_code == 403


async def test_what_sends_no_origin_is_no_browser(client, widget):
    response = await search(client, widget[0])
    assert (response.status_code, cors_of(response)) == (200, set())


async def test_a_secret_key_is_no_use_to_a_page_of_another_origin(client, house, operator_key, widget):
    response = await search(client, house.key, SHOP)
    assert (response.status_code, cors_of(response)) == (200, set())
    response = await client.call("GET", "/v1/admin/tenants", key=operator_key, headers={"Origin": SHOP})
    assert (response.status_code, cors_of(response)) == (200, set())


async def test_nothing_is_said_to_a_page_whose_key_is_refused(client, widget):
    response = await search(client, "clo_pk_nonsense", SHOP)
    assert (response.status_code, cors_of(response)) == (401, set())


async def test_a_token_lets_in_fewer_pages_than_its_key(client, widget):
    _, key_id, secret = widget
    now = int(time.time())

    def token(**more) -> str:
        claims = {"iat": now, "exp": now + 60, **more}
        return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": str(key_id)})

    narrow = token(origins=["http://localhost:3000", EVIL])
    assert (await search(client, token(), SHOP)).headers["access-control-allow-origin"] == SHOP
    assert (await search(client, narrow, "http://localhost:3000")).status_code == 200
    for sent, origin in ((narrow, SHOP), (narrow, EVIL), (token(origins=None), SHOP), (token(), "null")):
        assert (await search(client, sent, origin)).status_code == 403
    assert (await search(client, token(origins=None))).status_code == 200


# ---------------------------------------------------------------- the question before it


async def test_a_preflight_of_a_listed_origin_is_answered_without_a_key(client, widget):
    response = await preflight(client, "/v1/search")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == SHOP
    assert response.headers["access-control-allow-methods"] == "POST"
    allowed = response.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type"} <= set(allowed)
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize("origin", [EVIL, "null", "*", "", SHOP + "/", SHOP.upper()])
async def test_any_other_preflight_is_a_request_without_a_key(client, widget, origin):
    response = await preflight(client, "/v1/search", origin)
    assert (response.status_code, cors_of(response)) == (401, set())


async def test_a_preflight_is_answered_where_publishable_keys_may_go_and_nowhere_else(client, widget):
    for (method, template), allowed in OPEN_TO.items():
        response = await preflight(client, filled(template), method=method)
        assert (response.status_code == 204) == ("publishable" in allowed), (method, template)
        assert (cors_of(response) != set()) == ("publishable" in allowed)
    assert (await preflight(client, "/v1/search", method="DELETE")).status_code == 401


async def test_an_options_request_that_is_no_preflight_is_not_answered(client, widget):
    assert (await client.call("OPTIONS", "/v1/search", headers={"Origin": SHOP})).status_code == 401


async def test_a_revoked_keys_origin_is_not_answered(client, services, house, widget):
    async with services.database.tenant(house.tenant) as connection:
        await revoke_key(connection, house.tenant, widget[1])
    assert (await preflight(client, "/v1/search")).status_code == 401
