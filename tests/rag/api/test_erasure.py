from uuid import uuid4

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
