"""Facets: exact counts of the documents that match, under everything that a search is under."""

from collections import Counter

import msgspec
import pytest

from rag.domain import FacetStats, Query, SearchResult
from rag.errors import InvalidInput
from rag.retrieval.filters import compile_filter
from rag.store.collections import CollectionChange, create_collection, update_collection
from rag.store.documents import delete_document

BRANDS = ["acme", "bolt", "acme", "crow", "acme", "bolt"]


def counts(result: SearchResult, field: str = "brand") -> dict:
    return {count.value: count.count for count in result.facets[field]}


@pytest.fixture
async def shelf(stock):
    owner = await stock("acme")
    for n, brand in enumerate(BRANDS):
        text = f"A {'red' if n % 2 else 'blue'} lamp.\n\nThe lamp again, number {n}."
        metadata = {"brand": brand, "price": n * 10, "tags": ["new", brand, "new"], "sold": n > 3, "a": {"b": n % 2}}
        await owner.serve(f"lamp-{n}", text, metadata=metadata)
    await owner.serve_all({"chair": "A chair."}, metadata={"brand": "acme", "price": None})
    return owner


@pytest.fixture(params=[False, True], ids=["of the metadata", "kept"])
async def kept(request, shelf):
    """Whether the collection names its facet fields: the counts are the same."""
    if request.param:
        fields = ["brand", "price", "tags", "sold", "a.b", "none"]
        async with shelf.connect() as connection:
            await update_collection(connection, shelf.tenant, "kb", CollectionChange(facet_fields=fields))


@pytest.fixture
def search(retriever, shelf):
    async def run(text: str, *groups: str, facets=("brand",), **more) -> SearchResult:
        principal = msgspec.structs.replace(shelf.principal, groups=groups)
        return await retriever.search(principal, Query(text=text, facets=facets, **{"mode": "keyword", **more}))

    return run


@pytest.mark.usefixtures("kept")
async def test_documents_that_match_are_counted_and_not_their_chunks(search):
    assert counts(await search("lamp")) == {"acme": 3, "bolt": 2, "crow": 1}
    assert [count.value for count in (await search("lamp")).facets["brand"]] == ["acme", "bolt", "crow"]
    assert counts(await search("red chair")) == {"acme": 1, "bolt": 2, "crow": 1}
    assert counts(await search("sofa")) == {}


@pytest.mark.usefixtures("kept")
async def test_all_that_matches_is_counted_whatever_the_page(search):
    for page in ({"limit": 1}, {"offset": 500}, {"group_by": "document", "limit": 1}):
        assert counts(await search("lamp", **page)) == {"acme": 3, "bolt": 2, "crow": 1}


@pytest.mark.usefixtures("kept")
async def test_the_mode_decides_what_matches(search):
    assert counts(await search("red", mode="hybrid")) == {"bolt": 2, "crow": 1}
    assert counts(await search("red", mode="semantic")) == {"acme": 4, "bolt": 2, "crow": 1}, "all that is in scope"
    fallen = await search("crimson", fallback=True)
    assert (fallen.fallback, counts(fallen)) == ("semantic", {})


@pytest.mark.usefixtures("kept")
async def test_counts_are_under_filter_groups_and_collections(search, shelf):
    await shelf.serve("staff", "A staff lamp.", metadata={"brand": "heron", "price": 5}, groups=["staff"])
    assert counts(await search("lamp")) == {"acme": 3, "bolt": 2, "crow": 1}
    assert counts(await search("lamp", "staff")) == {"acme": 3, "bolt": 2, "crow": 1, "heron": 1}
    cheap = compile_filter({"price": {"$lt": 25}})
    assert counts(await search("lamp", filter=cheap)) == {"acme": 2, "bolt": 1}
    assert counts(await search("lamp", collections=())) == {}


@pytest.mark.usefixtures("kept")
async def test_another_tenants_documents_are_not_counted(search, stock):
    other = await stock("bolt")
    await other.serve_all({"theirs": "A lamp."}, metadata={"brand": "heron"})
    assert "heron" not in counts(await search("lamp"))


@pytest.mark.usefixtures("kept")
async def test_values_are_words_truths_numbers_and_the_members_of_lists(search):
    result = await search("lamp", facets=("tags", "sold", "a.b", "price", "none"))
    assert counts(result, "tags") == {"new": 6, **Counter(BRANDS)}
    assert counts(result, "sold") == {False: 4, True: 2}
    assert counts(result, "a.b") == {0: 3, 1: 3}
    assert [(count.value, count.count) for count in result.facets["price"]] == [(n * 10, 1) for n in range(6)]
    assert result.facets["none"] == []
    assert result.facet_stats == {"a.b": FacetStats(0, 1), "price": FacetStats(0, 50)}


@pytest.mark.usefixtures("kept")
async def test_many_numbers_are_counted_in_ranges_that_add_up(search, shelf):
    for n in range(60):
        await shelf.serve(f"bulb-{n}", "A bulb.", metadata={"price": n * 1.5 + 1, "sizes": [n, n + 0.5]})
    result = await search("bulb", facets=("price",))
    ranges = result.facets["price"]
    assert result.facet_stats["price"] == FacetStats(1, 89.5)
    assert [(r.min, r.max) for r in ranges] == [(n * 10, n * 10 + 10) for n in range(9)]
    for r in ranges:
        assert r.count == sum(r.min <= n * 1.5 + 1 < r.max for n in range(60))
        assert r.value is None


async def test_a_document_with_two_numbers_in_a_range_counts_once(search, shelf):
    for n in range(60):
        await shelf.serve(f"bulb-{n}", "A bulb.", metadata={"sizes": [n, n + 0.5]})
    ranges = (await search("bulb", facets=("sizes",))).facets["sizes"]
    assert sum(r.count for r in ranges) == 60


async def test_a_facet_has_a_bounded_number_of_values_the_commonest_first(search, shelf):
    for n in range(60):
        await shelf.serve(f"bulb-{n}", "A bulb.", metadata={"brand": f"brand {n:02}"})
    await shelf.serve("twice", "A bulb.", metadata={"brand": "brand 59"})
    await shelf.serve("long", "A bulb.", metadata={"brand": "x" * 300})
    found = (await search("bulb")).facets["brand"]
    assert len(found) == 50
    assert (found[0].value, found[0].count) == ("brand 59", 2)
    assert [count.value for count in found[1:4]] == ["brand 00", "brand 01", "brand 02"]


async def test_what_changes_changes_the_counts_at_once(search, shelf, kept):
    await shelf.serve("lamp-0", "A blue lamp.", metadata={"brand": "dove"})
    assert counts(await search("lamp")) == {"acme": 2, "bolt": 2, "crow": 1, "dove": 1}
    await shelf.serve("lamp-0", "A blue lamp.", metadata={"brand": "dove"}, groups=["staff"])
    assert counts(await search("lamp")) == {"acme": 2, "bolt": 2, "crow": 1}
    async with shelf.connect() as connection:
        await delete_document(connection, shelf.tenant, "kb", "lamp-3")
    assert counts(await search("lamp")) == {"acme": 2, "bolt": 2}


async def test_a_collection_may_say_what_it_is_counted_by(search, shelf):
    async with shelf.connect() as connection:
        await update_collection(connection, shelf.tenant, "kb", CollectionChange(facet_fields=["brand"]))
        await create_collection(connection, shelf.tenant, "den")
    await shelf.serve_all({"other": "A lamp."}, collection="den", metadata={"brand": "heron", "price": 7})
    assert counts(await search("lamp")) == {"acme": 3, "bolt": 2, "crow": 1, "heron": 1}
    assert counts(await search("lamp", facets=("price",)), "price") == {7: 1}, "of the collection that lets it"
    with pytest.raises(InvalidInput) as refusal:
        await search("lamp", facets=("brand", "price"), collections=("kb",))
    assert refusal.value.pointer == "/facets/1"


async def test_other_facet_fields_are_counted_from_then_on(search, shelf):
    for fields in (["price"], ["brand"], []):
        async with shelf.connect() as connection:
            await update_collection(connection, shelf.tenant, "kb", CollectionChange(facet_fields=fields))
        field = (fields or ["brand"])[0]
        assert sum(counts(await search("lamp", facets=(field,)), field).values()) == 6


async def test_completions_corrections_and_synonyms_are_counted(search, shelf):
    async with shelf.connect() as connection:
        await update_collection(connection, shelf.tenant, "kb", CollectionChange(synonyms=[["lantern", "lamp"]]))
    every = {"acme": 3, "bolt": 2, "crow": 1}
    assert counts(await search("lam", prefix=True)) == every
    assert counts(await search("lmap", correct=True)) == every
    assert counts(await search("lantern")) == every
