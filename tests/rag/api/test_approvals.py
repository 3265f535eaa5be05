from uuid import uuid4

import httpx
import msgspec
import pytest

from rag.app import create_app
from rag.store.keys import create_operator_key
from tests.rag.api.conftest import Client

PATH = "/v1/admin/approvals"
ACME = "/v1/admin/tenants/acme"
KB = "/v1/collections/kb"


@pytest.fixture
async def settings(settings):
    return msgspec.structs.replace(settings, approvals="required")


@pytest.fixture
async def second_key(services):
    """Another operator's; asked for before anything else, as one has it."""
    async with services.database.control() as control:
        key, _ = await create_operator_key(control)
    return key


async def ask(client, method, path, key, **more):
    found = await client.problem(method, path, 409, "approval_required", key=key, **more)
    return found["approval"]


async def grant(client, approval, key):
    return await client.call("POST", f"{PATH}/{approval}/grant", key=key)


async def test_a_tenant_is_deleted_once_another_operator_has_granted_it(client, house, operator_key, second_key):
    approval = await ask(client, "DELETE", ACME, operator_key)
    await client.problem("POST", f"{PATH}/{approval}/grant", 403, "forbidden", key=operator_key)
    again = {"params": {"approval": approval}}
    assert await ask(client, "DELETE", ACME, operator_key, **again) == approval, "not granted yet"
    granted = (await grant(client, approval, second_key)).json()
    assert (granted["state"], granted["act"], granted["subject"]) == ("granted", "tenant.delete", str(house.tenant))
    await client.problem("DELETE", ACME, 409, "approval_required", key=second_key, **again)
    assert (await client.call("GET", ACME, key=operator_key)).status_code == 200
    assert (await client.call("DELETE", ACME, key=operator_key, **again)).status_code == 204
    assert (await client.call("GET", f"{PATH}/{approval}", key=operator_key)).json()["state"] == "used"


async def test_a_tenants_key_asks_for_a_lower_threshold_and_an_operator_grants_it(client, house, operator_key):
    body = {"refusal_threshold": 0.2}
    approval = await ask(client, "PATCH", KB, house.key, json=body)
    listed = (await client.call("GET", PATH, key=operator_key, params={"status": "pending"})).json()
    assert listed["mode"] == "required"
    assert [found["arguments"] for found in listed["data"]] == [{"collection": "kb", "from": "0.5", "to": "0.2"}]
    assert listed["data"][0]["requested_by"] == f"key:{house.principal.key_id}"
    assert (await grant(client, approval, operator_key)).status_code == 200
    again = {"key": house.key, "params": {"approval": approval}}
    await client.problem("PATCH", KB, 409, "approval_required", json={"refusal_threshold": 0.1}, **again)
    changed = await client.call("PATCH", KB, json=body, **again)
    assert changed.json()["refusal_threshold"] == 0.2


async def test_what_refuses_more_needs_nobody(client, house):
    for body in ({"refusal_threshold": 0.9}, {"refusal_threshold": 0.9}, {"facet_fields": ["brand"]}, {}):
        assert (await client.call("PATCH", KB, key=house.key, json=body)).status_code == 200
    await ask(client, "PATCH", KB, house.key, json={"refusal_threshold": None})


async def test_a_tenants_approval_is_nothing_to_another_tenant(client, house, other, operator_key):
    body = {"refusal_threshold": 0.2}
    approval = await ask(client, "PATCH", KB, house.key, json=body)
    await grant(client, approval, operator_key)
    told = [
        await client.problem(
            "PATCH", KB, 409, "approval_required", key=other.key, json=body, params={"approval": str(asked)}
        )
        for asked in (approval, uuid4())
    ]
    assert told[0]["detail"] == told[1]["detail"]
    assert "approval" not in told[0]


async def test_one_is_denied(client, house, operator_key, second_key):
    approval = await ask(client, "DELETE", ACME, operator_key)
    denied = await client.call("POST", f"{PATH}/{approval}/deny", key=second_key)
    assert denied.json()["state"] == "denied"
    await client.problem("POST", f"{PATH}/{approval}/grant", 409, "conflict", key=second_key)
    await client.problem("DELETE", ACME, 409, "approval_required", key=operator_key, params={"approval": approval})


async def test_one_that_is_not_there(client, operator_key):
    for method, path in (("GET", ""), ("POST", "/grant"), ("POST", "/deny")):
        await client.problem(method, f"{PATH}/{uuid4()}{path}", 404, "not_found", key=operator_key)


async def test_the_list_is_paged(client, house, other, operator_key):
    for key in (house.key, other.key):
        for threshold in (0.1, 0.2):
            await ask(client, "PATCH", KB, key, json={"refusal_threshold": threshold})
    first = (await client.call("GET", PATH, key=operator_key, params={"limit": 3})).json()
    rest = (await client.call("GET", PATH, key=operator_key, params={"cursor": first["next_cursor"]})).json()
    assert (len(first["data"]), first["has_more"], len(rest["data"]), rest["has_more"]) == (3, True, 1, False)
    assert len({found["approval_id"] for found in first["data"] + rest["data"]}) == 4


async def test_where_they_are_off_the_list_says_so(services, house, operator_key):
    import dataclasses

    off = dataclasses.replace(services, settings=msgspec.structs.replace(services.settings, approvals="off"))
    transport = httpx.ASGITransport(create_app(services=off))
    async with Client(transport=transport, base_url="http://cloister.test") as client:
        assert (await client.call("GET", PATH, key=operator_key)).json()["mode"] == "off"
        assert (await client.call("DELETE", ACME, key=operator_key)).status_code == 204
