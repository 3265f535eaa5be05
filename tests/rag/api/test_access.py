import time
from dataclasses import replace
from uuid import uuid4

import httpx
import jwt
import pytest
from litestar import get
from litestar.routes import HTTPRoute

from rag.app import create_app
from rag.authenticator import Authenticator
from rag.domain import Scope
from rag.issuers import load_issuers
from rag.store.keys import create_key, create_signing_secret

READ = {"search", "ingest", "manage"}
WRITE = {"ingest", "manage"}


# Which scope, alone, opens a route; "operator" and "publishable" are kinds of keys.
OPEN_TO = {
    ("POST", "/v1/search"): {"search", "publishable"},
    ("POST", "/v1/answers"): {"answer"},
    ("GET", "/v1/answers/{answer_id}"): {"answer"},
    ("GET", "/v1/collections"): READ,
    ("POST", "/v1/collections"): WRITE,
    ("GET", "/v1/collections/{collection}"): READ,
    ("PATCH", "/v1/collections/{collection}"): WRITE,
    ("DELETE", "/v1/collections/{collection}"): WRITE,
    ("GET", "/v1/collections/{collection}/documents"): READ,
    ("PUT", "/v1/collections/{collection}/documents/{external_id}"): {"ingest"},
    ("GET", "/v1/collections/{collection}/documents/{external_id}"): READ,
    ("DELETE", "/v1/collections/{collection}/documents/{external_id}"): {"ingest"},
    ("GET", "/v1/collections/{collection}/documents/{external_id}/versions"): READ,
    ("GET", "/v1/jobs"): WRITE,
    ("GET", "/v1/jobs/{job_id}"): WRITE,
    ("POST", "/v1/jobs/{job_id}/retry"): WRITE,
    ("POST", "/v1/jobs/{job_id}/cancel"): WRITE,
    ("GET", "/v1/admin/tenants"): {"operator"},
    ("POST", "/v1/admin/tenants"): {"operator"},
    ("GET", "/v1/admin/tenants/{slug}"): {"operator"},
    ("PATCH", "/v1/admin/tenants/{slug}"): {"operator"},
    ("DELETE", "/v1/admin/tenants/{slug}"): {"operator"},
    ("GET", "/v1/retention"): {"manage"},
    ("GET", "/v1/usage"): {"manage"},
    ("GET", "/v1/collections/{collection}/pins"): {"ingest", "manage"},
    ("PUT", "/v1/collections/{collection}/pins"): {"ingest", "manage"},
    ("PATCH", "/v1/retention"): {"manage"},
    ("POST", "/v1/admin/erasure"): {"operator"},
    ("GET", "/v1/admin/erasure"): {"operator"},
    ("GET", "/v1/admin/erasure/{erasure_id}"): {"operator"},
    ("GET", "/v1/admin/tenants/{slug}/keys"): {"operator"},
    ("POST", "/v1/admin/tenants/{slug}/keys"): {"operator"},
    ("DELETE", "/v1/admin/tenants/{slug}/keys/{key_id}"): {"operator"},
    ("POST", "/v1/admin/tenants/{slug}/keys/{key_id}/rotate"): {"operator"},
    ("GET", "/v1/admin/audit"): {"operator"},
    ("GET", "/v1/admin/approvals"): {"operator"},
    ("GET", "/v1/admin/approvals/{approval_id}"): {"operator"},
    ("POST", "/v1/admin/approvals/{approval_id}/grant"): {"operator"},
    ("POST", "/v1/admin/approvals/{approval_id}/deny"): {"operator"},
    ("GET", "/v1/admin/embedding-spaces"): {"operator"},
    ("POST", "/v1/admin/embedding-spaces/{space}/activate"): {"operator"},
}


@pytest.fixture
async def keys(services, house, operator_key):
    """A key of each scope alone, and of each kind."""
    made = {"operator": operator_key, "publishable": house.publishable_key}
    async with services.database.tenant(house.tenant) as connection:
        for scope in Scope:
            made[scope.value], _ = await create_key(connection, house.tenant, scopes=[scope])
    return made


def filled(template):
    names = {"collection": "none", "external_id": "none", "slug": "none", "space": "none"}
    names |= {name: str(uuid4()) for name in ("answer_id", "job_id", "key_id", "approval_id", "erasure_id")}
    return template.format(**names)


async def test_each_route_is_open_to_these_keys_and_to_no_others(client, keys):
    for (method, template), allowed in OPEN_TO.items():
        for name, key in keys.items():
            response = await client.call(method, filled(template), key=key)
            assert (response.status_code != 403) == (name in allowed), (method, template, name, response.text)


def test_every_route_is_in_the_table(services):
    routed = {
        (method, route.path_format)
        for route in create_app(services=services).routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith("/v1/")
        for method in route.methods - {"OPTIONS"}
    }
    assert routed == set(OPEN_TO)


@pytest.fixture
async def widget_token(services, house):
    """A token signed for a publishable key, with nothing in it that narrows."""
    async with services.database.tenant(house.tenant) as connection:
        _, key_id = await create_key(connection, house.tenant, kind="publishable", scopes=[Scope.SEARCH])
        secret = await create_signing_secret(connection, house.tenant, key_id)
    now = int(time.time())
    return jwt.encode({"iat": now, "exp": now + 600}, secret, algorithm="HS256", headers={"kid": str(key_id)})


async def test_a_widget_token_goes_where_a_publishable_key_goes(client, widget_token):
    for (method, template), allowed in OPEN_TO.items():
        response = await client.call(method, filled(template), key=widget_token)
        assert (response.status_code != 403) == ("publishable" in allowed), (method, template, response.text)


@pytest.mark.parametrize("scope", Scope)
async def test_a_persons_token_goes_where_its_scopes_say(services, house, tmp_path, scope):
    (tmp_path / "secret").write_text("s" * 32)
    (tmp_path / "issuers.toml").write_text(
        '[[issuers]]\nissuer = "idp"\naudience = "cloister"\nalgorithms = ["HS256"]\ntenants = ["acme"]\n'
        'scopes = ["search", "answer", "ingest", "manage"]\nkeys = [{secret_file = "secret"}]\n'
    )
    issuers = load_issuers(tmp_path / "issuers.toml")
    trusting = replace(services, authenticator=Authenticator(services.database, issuers))
    now = int(time.time())
    claims = {"iss": "idp", "aud": "cloister", "sub": "ann", "tenant": "acme", "iat": now, "exp": now + 600}
    token = jwt.encode({**claims, "scope": scope.value}, "s" * 32, algorithm="HS256")
    transport = httpx.ASGITransport(create_app(services=trusting))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloister.test") as client:
        for (method, template), allowed in OPEN_TO.items():
            response = await client.request(method, filled(template), headers={"Authorization": f"Bearer {token}"})
            assert (response.status_code != 403) == (scope.value in allowed), (method, template, response.text)


async def test_a_route_that_says_nothing_is_closed_to_everyone(services, house, operator_key):
    app = create_app(services=services)

    @get("/v1/forgotten")
    async def forgotten() -> str:
        return "open"

    app.register(forgotten)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloister.test") as client:
        for key in (house.key, house.publishable_key, operator_key):
            response = await client.get("/v1/forgotten", headers={"Authorization": f"Bearer {key}"})
            assert response.status_code == 403


async def test_the_answer_says_what_is_missing(client, keys):
    found = await client.problem("POST", "/v1/answers", 403, "forbidden", key=keys["search"], json={"question": "x"})
    assert found["detail"] == "this key lacks the scope 'answer'"


async def test_access_comes_before_the_body_is_looked_at(client, keys):
    await client.problem(
        "POST",
        "/v1/answers",
        403,
        "forbidden",
        key=keys["search"],
        content=b"{",
        headers={"Content-Type": "text/plain"},
    )
