from uuid import UUID

import httpx
import msgspec

from rag.app import create_app
from rag.services import open_services

TEXT = "# Returns\n\nA zebrafork can be returned within 41 days.\n"
FIELDS = {
    "chunk_id", "document_id", "external_id", "document_version", "collection", "title", "uri", "heading_path",
    "page", "text", "highlights", "score", "similarity", "ranks", "metadata", "pinned", "explain",
}  # fmt: skip


async def search(client, key, **body):
    response = await client.call("POST", "/v1/search", key=key, json={"query": "zebrafork", **body})
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_answer_has_every_field_of_the_contract(client, house):
    await house.ingest({"returns": TEXT}, metadata={"brand": "acme"}, uri="https://example.test/returns")
    found = await search(client, house.key)
    hit = found["hits"][0]
    assert set(hit) == FIELDS
    assert (hit["external_id"], hit["collection"], hit["metadata"]) == ("returns", "kb", {"brand": "acme"})
    assert set(hit["ranks"]) == {"dense", "lexical"}
    assert UUID(found["query_id"])
    assert (found["facets"], found["corrected_query"], found["explain"]) == ({}, None, None)
    assert found["corpus_version"] >= 1
    assert found["embedding_space"] == "minilm_l6_v2"
    assert found["took_ms"] > 0


async def test_the_second_time_it_comes_from_the_cache_with_an_id_of_its_own(client, house, other):
    await house.ingest({"returns": TEXT})
    first, second = [await search(client, house.key) for _ in range(2)]
    assert (first["cache"], second["cache"]) == ("miss", "hit")
    assert first["query_id"] != second["query_id"]
    assert first["hits"] == second["hits"]
    assert (await search(client, other.key))["cache"] == "miss"


async def test_what_is_asked_for_reaches_the_searcher(client, house):
    await house.ingest({"a": TEXT, "b": TEXT.replace("41", "42")}, metadata={"brand": "acme"})
    assert len((await search(client, house.key, limit=1))["hits"]) == 1
    both = [hit["chunk_id"] for hit in (await search(client, house.key))["hits"]]
    assert [hit["chunk_id"] for hit in (await search(client, house.key, offset=1))["hits"]] == both[1:]
    assert (await search(client, house.key, collections=[]))["hits"] == []
    assert (await search(client, house.key, collections=["kb"]))["hits"]
    assert (await search(client, house.key, filters={"brand": "bolt"}))["hits"] == []
    assert (await search(client, house.key, filters={"brand": {"$in": ["acme"]}}))["hits"]
    assert (await search(client, house.key, filters={}))["hits"]
    assert (await search(client, house.key, mode="semantic"))["hits"][0]["ranks"]["lexical"] is None
    marked = (await search(client, house.key, highlight=True))["hits"][0]
    assert [marked["text"][start:end].lower() for start, end in marked["highlights"]] == ["zebrafork"]
    explained = await search(client, house.key, explain=True)
    assert explained["explain"]
    assert explained["hits"][0]["explain"]


async def test_a_field_that_is_wrong_is_pointed_at(client, house):
    wrong = [
        ({}, "/query"),
        ({"query": ""}, "/query"),
        ({"query": " \n\t"}, "/query"),
        ({"query": 3}, "/query"),
        ({"query": "x" * 2001}, "/query"),
        ({"query": "a\x00b"}, "/query"),
        ({"query": "x", "limit": 0}, "/limit"),
        ({"query": "x", "limit": 101}, "/limit"),
        ({"query": "x", "limit": "10"}, "/limit"),
        ({"query": "x", "offset": -1}, "/offset"),
        ({"query": "x", "offset": 1001}, "/offset"),
        ({"query": "x", "mode": "psychic"}, "/mode"),
        ({"query": "x", "collections": "kb"}, "/collections"),
        ({"query": "x", "collections": [""]}, "/collections/0"),
        ({"query": "x", "collections": ["kb"] * 51}, "/collections"),
        ({"query": "x", "filters": []}, "/filters"),
        ({"query": "x", "filters": {"$and": 3}}, "/filters/$and"),
        ({"query": "x", "filters": {"a/b": {"$near": 3}}}, "/filters/a~1b/$near"),
        ({"query": "x", "filters": {"a": "\x00"}}, "/filters/a"),
        ({"query": "x", "tenant": "bolt"}, "/tenant"),
    ]
    for body, pointer in wrong:
        found = await client.problem("POST", "/v1/search", 422, "invalid_input", key=house.key, json=body)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body


async def test_a_collection_of_another_tenant_is_one_that_is_not_there(client, house, other):
    path = "/v1/collections"
    assert (await client.call("POST", path, key=other.key, json={"name": "vault"})).status_code == 201
    told = [
        await client.problem(
            "POST", "/v1/search", 404, "not_found", key=house.key, json={"query": "x", "collections": [name]}
        )
        for name in ("vault", "never")
    ]
    assert told[0]["detail"].replace("vault", "never") == told[1]["detail"]


async def test_without_a_cache_a_search_is_made_anew(settings, house):
    await house.ingest({"returns": TEXT})
    async with open_services(msgspec.structs.replace(settings, redis_url=None)) as services:
        transport = httpx.ASGITransport(create_app(services=services))
        async with httpx.AsyncClient(transport=transport, base_url="http://cloister.test") as client:
            headers = {"Authorization": f"Bearer {house.key}"}
            for _ in range(2):
                found = (await client.post("/v1/search", headers=headers, json={"query": "zebrafork"})).json()
                assert found["cache"] == "bypass"
                assert found["hits"]


async def test_a_shop_asks_for_everything_at_once(client, house):
    await house.ingest({"returns": TEXT}, metadata={"brand": "acme", "price": 12.5})
    await house.ingest({"shipping": "# Shipping\n\nParcels leave at noon.\n"}, metadata={"brand": "bolt", "price": 3})
    found = await search(client, house.publishable_key, query="zebrafork parcels", facets=["brand", "price", "brand"])
    assert found["facets"]["brand"] == [{"value": "acme", "count": 1}, {"value": "bolt", "count": 1}]
    assert found["facets"]["price"] == [{"value": 3, "count": 1}, {"value": 12.5, "count": 1}]
    assert found["facet_stats"] == {"price": {"min": 3, "max": 12.5}}
    again = await search(client, house.publishable_key, query="zebrafork parcels", facets=["brand", "price"])
    assert (again["cache"], again["facets"]) == ("hit", found["facets"])


async def test_words_are_corrected_completed_and_asked_by_meaning_unless_told_not_to(client, house):
    await house.ingest({"returns": TEXT})
    keyword = {"mode": "keyword", "highlight": True}
    typo = await search(client, house.key, query="zebrafrok", **keyword)
    assert (typo["corrected_query"], typo["fallback"], len(typo["hits"])) == ("zebrafork", None, 1)
    typed = (await search(client, house.key, query="zebraf", prefix=True, **keyword))["hits"][0]
    assert [typed["text"][start:end] for start, end in typed["highlights"]] == ["zebrafork"]
    fallen = await search(client, house.key, query="give it back", **keyword)
    assert (fallen["fallback"], len(fallen["hits"])) == ("semantic", 1)
    exact = {"correct": False, "fallback": False, **keyword}
    assert (await search(client, house.key, query="zebrafrok", **exact))["hits"] == []


async def test_what_a_shop_may_not_ask_is_pointed_at(client, house):
    wrong = [
        ({"facets": "brand"}, "/facets"),
        ({"facets": [""]}, "/facets/0"),
        ({"facets": ["a", "b..c"]}, "/facets/1"),
        ({"facets": [f"f{n}" for n in range(11)]}, "/facets"),
        ({"group_by": "chunk"}, "/group_by"),
        ({"sort": "price"}, "/sort"),
        ({"sort": {"field": "price", "order": "up"}}, "/sort/order"),
        ({"sort": {"field": ".price"}}, "/sort/field"),
        ({"sort": {"field": "price", "by": 1}}, "/sort/by"),
        ({"prefix": 1}, "/prefix"),
    ]
    await client.call("PATCH", "/v1/collections/kb", key=house.key, json={"facet_fields": ["brand"]})
    wrong.append(({"facets": ["brand", "cost"]}, "/facets/1"))
    for body, pointer in wrong:
        asked = {"query": "x", **body}
        found = await client.problem("POST", "/v1/search", 422, "invalid_input", key=house.key, json=asked)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body
