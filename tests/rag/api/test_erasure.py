from dataclasses import replace
from uuid import uuid4

import httpx
import msgspec

from rag.app import create_app
from rag.store.keys import create_operator_key
from tests.rag.api.conftest import Client

PATH = "/v1/admin/erasure"


async def test_a_document_is_erased_and_its_receipt_fetched_again(client, operator_key, house):
    await house.ingest({"d": "The lever stops the wheel."})
    body = {"kind": "document", "tenant": house.slug, "collection": "kb", "external_id": "d"}
    response = await client.call("POST", PATH, key=operator_key, json=body)
    assert response.status_code == 202, response.text
    receipt = response.json()
    assert (receipt["kind"], receipt["state"], receipt["step"]) == ("document", "finished", None)
    counts = {store["store"]: store["removed"] for store in receipt["stores"]}
    assert (counts["documents"], counts["chunks"]) == (1, 1)
    assert response.headers["location"] == f"{PATH}/{receipt['erasure_id']}"
    assert (await client.call("GET", response.headers["location"], key=operator_key)).json() == receipt
    search = await client.call("POST", "/v1/search", key=house.key, json={"query": "lever"})
    assert search.json()["hits"] == []


async def test_a_tenant_is_erased_and_its_calls_are_answered_with_410(client, operator_key, house, services):
    await client.call("GET", "/v1/jobs", key=house.key)  # its key is known by now
    await services.eraser.begin_tenant(house.slug)
    for method, path, body in (
        ("POST", "/v1/search", {"query": "x"}),
        ("GET", "/v1/collections", None),
        ("PUT", "/v1/collections/kb/documents/d", {"text": "x"}),
        ("POST", "/v1/answers", {"question": "x"}),
    ):
        await client.problem(method, path, 410, "tenant_erased", key=house.key, json=body)
    ended = await client.call("POST", PATH, key=operator_key, json={"kind": "tenant", "tenant": house.slug})
    assert ended.json()["state"] == "finished"
    await client.problem(
        "POST", PATH, 404, "not_found", key=operator_key, json={"kind": "tenant", "tenant": house.slug}
    )


async def test_deleting_a_tenant_is_the_same_and_says_where_the_receipt_is(client, operator_key, house):
    response = await client.call("DELETE", f"/v1/admin/tenants/{house.slug}", key=operator_key)
    assert response.status_code == 204
    receipt = (await client.call("GET", response.headers["location"], key=operator_key)).json()
    assert (receipt["kind"], receipt["state"]) == ("tenant", "finished")


async def test_erasures_are_listed_newest_first(client, operator_key, house):
    made = []
    for user in ("a", "b", "c"):
        body = {"kind": "user", "tenant": house.slug, "user": user}
        made.append((await client.call("POST", PATH, key=operator_key, json=body)).json()["erasure_id"])
    seen, params = [], {"limit": 2}
    while True:
        page = (await client.call("GET", PATH, key=operator_key, params=params)).json()
        seen += [erasure["erasure_id"] for erasure in page["data"]]
        if not page["has_more"]:
            break
        params = {"limit": 2, "cursor": page["next_cursor"]}
    assert seen == made[::-1]


async def test_a_name_that_is_missing_or_has_no_place_is_pointed_at(client, operator_key, house):
    for body, pointer in (
        ({"kind": "document", "tenant": house.slug, "collection": "kb"}, "/external_id"),
        ({"kind": "document", "tenant": house.slug, "external_id": "d"}, "/collection"),
        ({"kind": "user", "tenant": house.slug}, "/user"),
        ({"kind": "user", "tenant": house.slug, "user": ""}, "/user"),
        ({"kind": "tenant", "tenant": house.slug, "user": "u"}, "/user"),
        ({"kind": "chunk", "tenant": house.slug}, "/kind"),
        ({"kind": "tenant"}, "/tenant"),
    ):
        found = await client.problem("POST", PATH, 422, "invalid_input", key=operator_key, json=body)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body


async def test_what_is_not_there_cannot_be_erased(client, operator_key, house):
    body = {"kind": "document", "tenant": house.slug, "collection": "kb", "external_id": "none"}
    await client.problem("POST", PATH, 404, "not_found", key=operator_key, json=body)
    await client.problem("GET", f"{PATH}/{uuid4()}", 404, "not_found", key=operator_key)


async def answered(client, house, question: str, key: str) -> dict:
    body, headers = {"question": question}, {"Idempotency-Key": key}
    response = await client.call("POST", "/v1/answers", key=house.key, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def requests_kept(house) -> int:
    async with house.services.database.tenant(house.tenant) as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM idempotency_records")).fetchone()
        return row["n"]


async def test_what_was_answered_to_an_idempotency_key_goes_with_the_document(client, operator_key, house):
    await house.ingest({"d": "The lever stops the wheel.", "e": "The hub is blue."})
    assert (await answered(client, house, "What does the lever stop?", "one"))["citations"]
    waiting = await house.put("d", "The lever is new.")
    headers = {"Idempotency-Key": "two"}
    stopped = await client.call("POST", f"/v1/jobs/{waiting.job_id}/cancel", key=house.key, headers=headers)
    assert stopped.status_code == 200, stopped.text
    assert await requests_kept(house) == 2
    body = {"kind": "document", "tenant": house.slug, "collection": "kb", "external_id": "d"}
    receipt = (await client.call("POST", PATH, key=operator_key, json=body)).json()
    assert {s["store"]: s["removed"] for s in receipt["stores"]}["idempotency_records"] == 2
    assert await requests_kept(house) == 0


async def test_the_erasure_of_a_tenant_takes_two_operators_where_that_is_required(services, house, operator_key):
    settings = msgspec.structs.replace(services.settings, approvals="required")
    app = create_app(services=replace(services, settings=settings))
    async with services.database.control() as control:
        second, _ = await create_operator_key(control)
    async with Client(transport=httpx.ASGITransport(app), base_url="http://cloister.test") as client:
        body = {"kind": "tenant", "tenant": house.slug}
        asked = await client.problem("POST", PATH, 409, "approval_required", key=operator_key, json=body)
        assert (await client.call("GET", "/v1/collections", key=house.key)).status_code == 200
        approval = f"/v1/admin/approvals/{asked['approval']}"
        await client.problem("POST", f"{approval}/grant", 403, "forbidden", key=operator_key)
        assert (await client.call("POST", f"{approval}/grant", key=second)).status_code == 200
        erased = await client.call("POST", f"{PATH}?approval={asked['approval']}", key=operator_key, json=body)
        assert erased.json()["state"] == "finished"
        trail = await client.call("GET", "/v1/admin/audit", key=operator_key, params={"limit": 100})
        acts = [line["event"]["activity_name"] for line in trail.json()["data"]]
        assert {"erasure.begin", "erasure.finish", "tenant.delete", "approval.use"} <= set(acts)
