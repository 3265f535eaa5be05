"""The order of the hits: one a document, by a field, what is pinned; and the way out when nothing matches."""

import msgspec
import pytest

from rag.domain import Pin, Query, SearchResult, Sort
from rag.retrieval.filters import compile_filter
from rag.store.pins import replace_pins

MODES = ["hybrid", "semantic", "keyword"]


def names(result: SearchResult) -> list[str]:
    return [hit.external_id for hit in result.hits]


@pytest.fixture
async def shelf(stock):
    owner = await stock("acme")
    for n, price in enumerate([30, 10, None, 20, "free"]):
        metadata = {} if price is None else {"price": price, "size": {"width": n}}
        await owner.serve(f"lamp-{n}", f"A lamp, number {n}.", metadata=metadata)
    await owner.serve_all({"manual": "\n\n".join(f"The lamp, chapter {n}." for n in range(120))})
    return owner


@pytest.fixture
def search(retriever, shelf):
    async def run(text: str, *groups: str, **more) -> SearchResult:
        principal = msgspec.structs.replace(shelf.principal, groups=groups)
        return await retriever.search(principal, Query(text=text, **more))

    return run


# ---------------------------------------------------------------- one a document


@pytest.mark.parametrize("mode", MODES)
async def test_a_document_comes_up_once_by_its_best_chunk(search, mode):
    single = await search("the lamp, chapter 7", mode=mode, group_by="document", limit=6)
    every = await search("the lamp, chapter 7", mode=mode, limit=100)
    assert len(names(single)) == len(set(names(single))) == 6, "as many as there are, though one fills the legs"
    assert set(names(single)) == {"manual", *(f"lamp-{n}" for n in range(5))}
    best = next(hit for hit in every.hits if hit.external_id == "manual")
    assert next(hit for hit in single.hits if hit.external_id == "manual").chunk_id == best.chunk_id
    assert [hit.score for hit in single.hits] == sorted((hit.score for hit in single.hits), reverse=True)


async def test_pages_of_documents_put_together_are_the_whole(search):
    whole = names(await search("lamp", group_by="document", limit=50))
    paged = [names(await search("lamp", group_by="document", limit=2, offset=offset)) for offset in (0, 2, 4, 6)]
    assert [name for page in paged for name in page] == whole


# ---------------------------------------------------------------- by a field


@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
async def test_matches_are_sorted_by_a_field_and_what_lacks_it_comes_last(search, mode):
    rising = names(await search("number lamp", mode=mode, sort=Sort("price"), group_by="document"))
    assert rising[:4] == ["lamp-4", "lamp-1", "lamp-3", "lamp-0"], "words before numbers, as in PostgreSQL's jsonb"
    assert set(rising[4:]) == {"lamp-2", "manual"}
    falling = names(await search("number lamp", mode=mode, sort=Sort("price", "desc"), group_by="document"))
    assert falling[:4] == ["lamp-0", "lamp-3", "lamp-1", "lamp-4"]
    assert set(falling[4:]) == {"lamp-2", "manual"}


async def test_all_that_matches_is_sorted_and_not_only_the_best(search, shelf):
    await shelf.serve_all({f"more-{n}": "A lamp." for n in range(70)}, metadata={"price": 50})
    await shelf.serve("cheap", "lamp " + "word " * 200, metadata={"price": 1})
    assert names(await search("lamp", mode="keyword", sort=Sort("price"), limit=3))[1] == "cheap"


async def test_a_nested_field_sorts_and_pages_follow(search):
    by = {"mode": "keyword", "sort": Sort("size.width", "desc"), "limit": 2}
    pages = [names(await search("number", offset=offset, **by)) for offset in (0, 2, 4)]
    assert pages == [["lamp-4", "lamp-3"], ["lamp-1", "lamp-0"], ["lamp-2"]]


async def test_a_sort_holds_within_filter_and_groups(search, shelf):
    await shelf.serve("staff", "A staff lamp.", metadata={"price": 0}, groups=["staff"])
    by = {"mode": "keyword", "sort": Sort("price")}
    assert names(await search("lamp", filter=compile_filter({"price": {"$lt": 25}}), **by)) == ["lamp-1", "lamp-3"]
    found = names(await search("lamp", "staff", filter=compile_filter({"price": {"$lt": 25}}), **by))
    assert found == ["staff", "lamp-1", "lamp-3"]


async def test_by_meaning_the_nearest_are_sorted(search):
    found = names(await search("illumination", mode="semantic", sort=Sort("price"), group_by="document"))
    assert found[:4] == ["lamp-4", "lamp-1", "lamp-3", "lamp-0"]


async def test_a_hybrid_sort_without_a_match_sorts_the_nearest(search):
    result = await search("illumination", sort=Sort("price"), group_by="document")
    assert names(result)[:4] == ["lamp-4", "lamp-1", "lamp-3", "lamp-0"]
    assert result.fallback is None


# ---------------------------------------------------------------- pins


@pytest.fixture
def pin(shelf):
    async def run(query: str, *documents: str) -> None:
        async with shelf.connect() as connection:
            await replace_pins(connection, shelf.tenant, "kb", [Pin(query, list(documents))])

    return run


@pytest.mark.parametrize("mode", MODES)
async def test_pinned_documents_stand_above_the_hits_in_their_order(search, pin, mode):
    before = names(await search("lamp", mode=mode, group_by="document"))
    await pin("lamp", before[-1], before[-2], "gone")
    result = await search("lamp", mode=mode, group_by="document")
    assert names(result) == [before[-1], before[-2], *before[:-2]]
    assert [hit.pinned for hit in result.hits] == [True, True, False, False, False, False]
    assert names(await search("Lámp!", mode=mode, group_by="document"))[:2] == [before[-1], before[-2]]
    assert not any(hit.pinned for hit in (await search("lamp number", mode=mode)).hits)


async def test_what_does_not_match_can_be_pinned_and_no_chunk_comes_up_twice(search, shelf, pin):
    await shelf.serve("offer", "Everything must go.")
    await pin("lamp", "offer", "manual")
    result = await search("lamp", mode="keyword", limit=100)
    assert names(result)[:2] == ["offer", "manual"]
    assert len({hit.chunk_id for hit in result.hits}) == len(result.hits) == 100
    assert (result.hits[0].score, result.hits[0].ranks.lexical) == (0, None)


async def test_pinned_documents_are_shown_to_those_who_may_read_them_alone(search, shelf, pin):
    await shelf.serve("secret", "The heron lamp.", groups=["staff"])
    await pin("lamp", "secret", "lamp-1")
    assert names(await search("lamp", "staff", mode="keyword"))[:2] == ["secret", "lamp-1"]
    outside = await search("lamp", mode="keyword", limit=100)
    assert names(outside)[0] == "lamp-1"
    assert "secret" not in names(outside)


async def test_a_filter_holds_for_pins_and_a_sort_goes_before_them(search, pin):
    await pin("lamp", "lamp-0", "lamp-1")
    cheap = compile_filter({"price": {"$lt": 25}})
    assert names(await search("lamp", mode="keyword", filter=cheap)) == ["lamp-1", "lamp-3"]
    assert names(await search("lamp", mode="keyword", sort=Sort("price")))[0] == "lamp-4"
    assert names(await search("lamp", mode="keyword", collections=()))[:1] == []


# ---------------------------------------------------------------- when nothing matches


async def test_a_keyword_query_without_a_match_is_asked_by_meaning_and_says_so(search):
    assert (await search("illumination", mode="keyword")).hits == []
    result = await search("illumination", mode="keyword", fallback=True)
    assert result.fallback == "semantic"
    assert len(result.hits) == 10
    assert all(hit.ranks.lexical is None and hit.similarity for hit in result.hits)


async def test_one_with_a_match_is_not_even_on_a_page_past_it(search):
    for offset in (0, 900):
        result = await search("lamp", mode="keyword", fallback=True, offset=offset)
        assert (result.fallback, bool(result.hits)) == (None, offset == 0)


async def test_by_meaning_groups_and_filters_hold_as_well(search, shelf):
    await shelf.serve("secret", "Illumination for staff.", groups=["staff"])
    result = await search("lumière", mode="keyword", fallback=True, limit=100)
    assert "secret" not in names(result)
    cheap = compile_filter({"price": {"$lt": 25}})
    result = await search("lumière", mode="keyword", fallback=True, filter=cheap)
    assert set(names(result)) == {"lamp-1", "lamp-3"}
