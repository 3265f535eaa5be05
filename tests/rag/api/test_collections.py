PATH = "/v1/collections"


async def make(client, key, name, **more):
    response = await client.call("POST", PATH, key=key, json={"name": name, **more})
    assert response.status_code == 201, response.text
    return response


async def test_a_collection_is_made_read_changed_and_deleted(client, house):
    made = await make(client, house.key, "shop", language="german", facet_fields=["brand"])
    assert made.headers["location"] == f"{PATH}/shop"
    assert made.json() | {"created_at": ""} == {
        "name": "shop", "language": "german", "refusal_threshold": None, "facet_fields": ["brand"],
        "synonyms": [], "document_count": 0, "chunk_count": 0, "created_at": "",
    }  # fmt: skip
    assert (await client.call("GET", f"{PATH}/shop", key=house.key)).json() == made.json()

    changed = await client.call("PATCH", f"{PATH}/shop", key=house.key, json={"refusal_threshold": 0.25})
    assert (changed.json()["refusal_threshold"], changed.json()["facet_fields"]) == (0.25, ["brand"])
    changed = await client.call("PATCH", f"{PATH}/shop", key=house.key, json={"facet_fields": []})
    assert (changed.json()["refusal_threshold"], changed.json()["facet_fields"]) == (0.25, [])
    changed = await client.call("PATCH", f"{PATH}/shop", key=house.key, json={"refusal_threshold": None})
    assert changed.json()["refusal_threshold"] is None

    gone = await client.call("DELETE", f"{PATH}/shop", key=house.key)
    assert (gone.status_code, gone.content) == (204, b"")
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        await client.problem(method, f"{PATH}/shop", 404, "not_found", key=house.key, json=body)


async def test_what_was_in_a_deleted_collection_is_found_no_more(client, house):
    await house.ingest({"a": "The zebrafork stands in the hall."})
    query = {"query": "zebrafork"}
    assert (await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"]
    await client.call("DELETE", f"{PATH}/kb", key=house.key)
    assert (await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"] == []


async def test_a_name_is_taken_once(client, house):
    await make(client, house.key, "shop")
    await client.problem("POST", PATH, 409, "conflict", key=house.key, json={"name": "shop"})


async def test_tenants_do_not_share_collections(client, house, other):
    await make(client, house.key, "shop")
    told = [
        await client.problem(method, f"{PATH}/{name}", 404, "not_found", key=other.key, json=body)
        for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None))
        for name in ("shop", "none")
    ]
    assert len({problem["detail"].replace("shop", "none") for problem in told}) == 1
    names = [found["name"] for found in (await client.call("GET", PATH, key=other.key)).json()["data"]]
    assert names == ["kb"]
    assert (await make(client, other.key, "shop")).status_code == 201


async def test_the_list_is_paged_by_name(client, house):
    for name in ("b", "a", "d", "c"):
        await make(client, house.key, name)
    seen, cursor, pages = [], None, 0
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await client.call("GET", PATH, key=house.key, params=params)).json()
        assert set(page) == {"data", "has_more", "next_cursor"}
        assert page["has_more"] == (page["next_cursor"] is not None)
        seen += [found["name"] for found in page["data"]]
        pages, cursor = pages + 1, page["next_cursor"]
        if not page["has_more"]:
            break
    assert (seen, pages) == (["a", "b", "c", "d", "kb"], 3)


async def test_a_page_that_ends_the_list_exactly_says_so(client, house):
    page = (await client.call("GET", PATH, key=house.key, params={"limit": 1})).json()
    assert (len(page["data"]), page["has_more"], page["next_cursor"]) == (1, False, None)


async def test_a_field_that_is_wrong_is_pointed_at(client, house):
    wrong = [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "a b"}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"name": "x" * 64}, "/name"),
        ({"name": "x", "language": "klingon"}, "/language"),
        ({"name": "x", "refusal_threshold": 1.5}, "/refusal_threshold"),
        ({"name": "x", "facet_fields": [""]}, "/facet_fields/0"),
        ({"name": "x", "facet_fields": ["a"] * 33}, "/facet_fields"),
        ({"name": "x", "tenant_id": "y"}, "/tenant_id"),
    ]
    for body, pointer in wrong:
        found = await client.problem("POST", PATH, 422, "invalid_input", key=house.key, json=body)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body
    found = await client.problem("PATCH", f"{PATH}/kb", 422, "invalid_input", key=house.key, json={"name": "x"})
    assert found["errors"][0]["pointer"] == "/name"


async def test_synonyms_are_set_and_followed_by_the_next_search(client, house):
    await house.ingest({"a": "A television stands in the hall."})
    query = {"query": "telly", "mode": "keyword", "fallback": False}
    assert (await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"] == []
    synonyms = [["tv", "telly", "television"]]
    changed = await client.call("PATCH", f"{PATH}/kb", key=house.key, json={"synonyms": synonyms})
    assert changed.json()["synonyms"] == synonyms
    assert len((await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"]) == 1
    kept = await client.call("PATCH", f"{PATH}/kb", key=house.key, json={"refusal_threshold": 0.5})
    assert kept.json()["synonyms"] == synonyms
    for wrong, pointer in (([["tv"]], "/synonyms/0"), ([["tv", ""]], "/synonyms/0/1"), ("tv", "/synonyms")):
        found = await client.problem(
            "PATCH", f"{PATH}/kb", 422, "invalid_input", key=house.key, json={"synonyms": wrong}
        )
        assert found["errors"][0]["pointer"] == pointer


async def test_documents_are_pinned_to_queries(client, house):
    await house.ingest({"a": "The lamp, the lamp.", "b": "A lamp of brass in the long hall."})
    query = {"query": "LAMP?", "mode": "keyword"}
    before = (await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"]
    last = before[-1]["external_id"]
    put = await client.call(
        "PUT", f"{PATH}/kb/pins", key=house.key, json={"pins": [{"query": "Lamp", "documents": [last, "gone"]}]}
    )
    assert put.json() == {"pins": [{"query": "lamp", "documents": [last, "gone"]}]}
    assert (await client.call("GET", f"{PATH}/kb/pins", key=house.key)).json() == put.json()
    hits = (await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"]
    assert (hits[0]["external_id"], hits[0]["pinned"]) == (last, True)
    assert len(hits) == len(before)
    await client.call("PUT", f"{PATH}/kb/pins", key=house.key, json={"pins": []})
    assert (await client.call("POST", "/v1/search", key=house.key, json=query)).json()["hits"] == before


async def test_pins_that_are_wrong_are_pointed_at(client, house, other):
    wrong = [
        ({"pins": [{"query": "?!", "documents": ["a"]}]}, "/pins/0/query"),
        ({"pins": [{"query": "a", "documents": ["a"]}, {"query": "Á", "documents": ["b"]}]}, "/pins/1/query"),
        ({"pins": [{"query": "a", "documents": []}]}, "/pins/0/documents"),
        ({"pins": [{"query": "a", "documents": [""]}]}, "/pins/0/documents/0"),
        ({"pins": "a"}, "/pins"),
        ({}, "/pins"),
    ]
    for body, pointer in wrong:
        found = await client.problem("PUT", f"{PATH}/kb/pins", 422, "invalid_input", key=house.key, json=body)
        assert found["errors"][0]["pointer"] == pointer, body
    await make(client, other.key, "vault")
    for name in ("vault", "never"):
        for method, body in (("GET", None), ("PUT", {"pins": []})):
            await client.problem(method, f"{PATH}/{name}/pins", 404, "not_found", key=house.key, json=body)
    await client.problem("GET", f"{PATH}/kb/pins", 403, "forbidden", key=house.search_key)


async def test_a_readers_counts_are_of_what_its_groups_open(client, house):
    await house.ingest({"open": "The zebrafork."})
    await house.ingest({"closed": "The quillhaven.", "closed too": "The mangosteen."}, groups=["leads"])
    for key, documents in ((house.key, 3), (house.search_key, 1)):
        one = (await client.call("GET", "/v1/collections/kb", key=key)).json()
        (listed,) = (await client.call("GET", "/v1/collections", key=key)).json()["data"]
        assert one == listed
        assert (one["document_count"], one["chunk_count"]) == (documents, documents)
    await client.call("POST", "/v1/collections", key=house.key, json={"name": "empty"})
    empty = (await client.call("GET", "/v1/collections/empty", key=house.search_key)).json()
    assert empty["document_count"] == 0
