import hashlib

import pytest

from rag.audit import CONTROL
from rag.store.audit import read_head

PATH = "/v1/admin/audit"


async def pages(client, key, **params):
    seen, cursor = [], None
    while True:
        sent = {"limit": 2, **params, **({"cursor": cursor} if cursor else {})}
        page = (await client.call("GET", PATH, key=key, params=sent)).json()
        seen += page["data"]
        if not page["has_more"]:
            return seen
        cursor = page["next_cursor"]


async def names(client, key, **params):
    return [line["event"]["activity_name"] for line in await pages(client, key, **params)]


async def test_every_route_that_changes_something_leaves_an_event_of_who_called_it(client, house, operator_key):
    async def call(method, path, key, status, **more):
        response = await client.call(method, path, key=key, headers={"X-Request-ID": "r-1"}, **more)
        assert response.status_code == status, response.text
        return response

    tenants = "/v1/admin/tenants"
    await call("POST", tenants, operator_key, 201, json={"slug": "corp"})
    made = (await call("POST", f"{tenants}/corp/keys", operator_key, 201, json={"scopes": ["manage"]})).json()
    await call("DELETE", f"{tenants}/corp/keys/{made['key_id']}", operator_key, 204)
    corp = await pages(client, operator_key, tenant="corp")
    await call("DELETE", f"{tenants}/corp", operator_key, 204)
    await call("POST", "/v1/collections", house.key, 201, json={"name": "shop"})
    await call("PATCH", "/v1/collections/shop", house.key, 200, json={"refusal_threshold": 0.1})
    await call("PUT", "/v1/collections/shop/documents/a", house.key, 202, json={"text": "x"})
    job = (await client.call("GET", "/v1/jobs", key=house.key)).json()["data"][0]["job_id"]
    await call("POST", f"/v1/jobs/{job}/cancel", house.key, 200)
    await call("POST", f"/v1/jobs/{job}/retry", house.key, 200)
    await call("DELETE", "/v1/collections/shop/documents/a", house.key, 204)
    await call("DELETE", "/v1/collections/shop", house.key, 204)

    assert [line["event"]["activity_name"] for line in corp] == ["key.revoke", "key.create"]
    control = (await pages(client, operator_key, tenant="control"))[:2]
    assert [line["event"]["activity_name"] for line in control] == ["tenant.delete", "tenant.create"]
    acme = (await pages(client, operator_key, tenant="acme"))[:6]
    assert [line["event"]["activity_name"] for line in acme] == [
        "collection.delete",
        "document.delete",
        "job.retry",
        "job.cancel",
        "collection.update",
        "collection.create",
    ]
    for lines, kind in ((corp, "operator"), (control, "operator"), (acme, "key")):
        for line in lines:
            assert line["event"]["actor"]["user"]["type"] == kind
            assert line["event"]["metadata"]["correlation_uid"] == "r-1"
    assert acme[0]["event"]["actor"]["user"]["credential_uid"] == str(house.principal.key_id)


async def test_a_document_is_recorded_as_the_callers_when_it_is_in_service(client, house, operator_key):
    await client.call("PUT", "/v1/collections/kb/documents/a", key=house.key, json={"text": "The zebrafork stands."})
    await house.ingest({})
    (line, *_) = await pages(client, operator_key, tenant="acme")
    assert line["event"]["activity_name"] == "document.write"
    assert line["event"]["actor"]["user"]["credential_uid"] == str(house.principal.key_id)
    assert "zebrafork" not in str(await pages(client, operator_key))


async def test_a_line_can_be_hashed_by_whoever_reads_it(client, house, operator_key):
    response = await client.call("GET", PATH, key=operator_key, params={"tenant": "acme", "limit": 1})
    line = response.json()["data"][0]
    text = response.text.split('"event":', 1)[1].split('}],"has_more"')[0]
    assert hashlib.sha256(bytes.fromhex(line["previous_hash"]) + text.encode()).hexdigest() == line["hash"]
    head = await read_head(house.services.database, house.tenant)
    assert (line["sequence"], line["hash"]) == (head[0], head[1].hex())


async def test_all_chains_or_one_by_slug_or_id(client, house, other, operator_key):
    everything = await pages(client, operator_key)
    assert {line["tenant"] for line in everything} == {None, "acme", "bolt"}
    times = [line["event"]["time"] for line in everything]
    assert times == sorted(times, reverse=True)
    assert await pages(client, operator_key, tenant="bolt") == await pages(
        client, operator_key, tenant=str(other.tenant)
    )
    assert await pages(client, operator_key, tenant=str(CONTROL)) == await pages(client, operator_key, tenant="control")
    await client.problem("GET", PATH, 404, "not_found", key=operator_key, params={"tenant": "none"})


@pytest.mark.parametrize("cursor", ["x", "W10", "WyIyMDI0LTAxLTAxVDAwOjAwOjAwWiIsIDEsIDJd"])
async def test_a_cursor_of_somebody_elses_is_refused(client, operator_key, cursor):
    await client.problem("GET", PATH, 422, "invalid_input", key=operator_key, params={"cursor": cursor})
