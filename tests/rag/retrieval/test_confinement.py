from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain import Query, TenantId
from rag.errors import NotFound
from rag.retrieval.cached import CachedRetriever
from rag.retrieval.confinement import confined
from rag.retrieval.filters import compile_filter
from rag.store.collections import create_collection, delete_collection
from rag.tenancy import Principal

IN_STOCK = compile_filter({"stock": {"$gt": 0}})


@pytest.fixture(scope="module")
def reader() -> Principal:
    tenant = TenantId(UUID(int=1))
    return Principal(tenant=tenant, slug="acme", key_id=tenant, kind="publishable", scopes=frozenset({"search"}))


def test_who_is_not_confined_asks_as_he_likes(reader):
    query = Query(text="x", limit=100, offset=1000, filter=IN_STOCK, collections=("kb",))
    assert confined(reader, query) == query


def test_a_filter_is_added_and_never_replaced(reader):
    narrow = msgspec.structs.replace(reader, filter=IN_STOCK)
    own = compile_filter({"brand": "acme"})
    assert confined(narrow, Query(text="x")).filter == IN_STOCK
    assert confined(narrow, Query(text="x", filter=own)).filter == f"({IN_STOCK} && {own})"


@given(limit=st.integers(1, 100), offset=st.integers(0, 1000), most=st.integers(1, 1000))
def test_no_page_goes_deeper_than_the_credential_may_see(reader, limit, offset, most):
    narrow = msgspec.structs.replace(reader, max_hits=most)
    page = confined(narrow, Query(text="x", limit=limit, offset=offset))
    assert set(range(page.offset, page.offset + page.limit)) == {n for n in range(offset, offset + limit) if n < most}


# ---------------------------------------------------------------- on a shelf


@pytest.fixture
async def shelf(stock):
    """Two collections, each with lamps that are in stock and lamps that are not."""
    owner = await stock("acme")
    async with owner.connect() as connection:
        await create_collection(connection, owner.tenant, "shop")
    for collection in ("kb", "shop"):
        for number in range(4):
            await owner.serve(
                f"{collection}-{number}",
                f"A lamp, number {number}.",
                collection=collection,
                metadata={"stock": number % 2, "brand": "acme" if number < 2 else "bolt"},
            )
    return owner


@pytest.fixture
def search(retriever, shelf):
    async def run(confinement: dict, mode: str = "hybrid", **more) -> list[str]:
        principal = msgspec.structs.replace(shelf.principal, kind="publishable", **confinement)
        result = await retriever.search(principal, Query(text="lamp", mode=mode, **{"limit": 50, **more}))
        return sorted(hit.external_id for hit in result.hits)

    return run


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
async def test_only_its_collections_are_there(search, mode):
    assert {name[:2] for name in await search({"collections": ("kb",)}, mode)} == {"kb"}
    assert len(await search({"collections": None}, mode)) == 8
    assert await search({"collections": ()}, mode) == []
    assert len(await search({"collections": ("kb", "gone")}, mode)) == 4
    assert await search({"collections": ("gone",)}, mode) == []


async def test_a_collection_outside_is_one_that_is_not_there(search):
    said = []
    for name in ("shop", "none"):
        with pytest.raises(NotFound) as refusal:
            await search({"collections": ("kb",)}, collections=("kb", name))
        said.append(refusal.value.message.replace(name, "…"))
    assert said[0] == said[1]
    assert len(await search({"collections": ("kb",)}, collections=("kb",))) == 4


async def test_a_collection_that_was_deleted_is_gone_for_its_key_too(search, shelf):
    async with shelf.connect() as connection:
        await delete_collection(connection, shelf.tenant, "kb")
    assert await search({"collections": ("kb",)}) == []


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
@pytest.mark.parametrize(
    "attempt",
    [
        {"$or": [{"stock": 0}, {"stock": 1}]},
        {"stock": 0},
        {"$not": {"stock": {"$gt": 0}}},
        {"$or": []},
        {"stock": {"$exists": True}},
        {"brand": 'x" || 1 == 1) || (1 == 1'},
    ],
)
async def test_no_filter_of_a_request_lets_through_what_the_token_keeps_out(search, mode, attempt):
    found = await search({"filter": IN_STOCK}, mode, filter=compile_filter(attempt))
    assert all(name.endswith(("1", "3")) for name in found)


async def test_both_filters_hold(search):
    own = compile_filter({"brand": "acme"})
    assert await search({"filter": IN_STOCK}) == ["kb-1", "kb-3", "shop-1", "shop-3"]
    assert await search({"filter": IN_STOCK}, filter=own) == ["kb-1", "shop-1"]


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
async def test_a_ranking_ends_where_the_credential_says(search, mode):
    assert len(await search({"max_hits": 3}, mode)) == 3
    assert len(await search({"max_hits": 3}, mode, offset=2)) == 1
    assert await search({"max_hits": 3}, mode, offset=3) == []
    assert await search({"max_hits": 3}, mode, offset=1000) == []


async def test_a_cached_result_is_of_whoever_is_confined_alike(shelf, services, retriever):
    """One cache for all: who may see more comes first, and who may see less finds nothing of it."""
    cached = CachedRetriever(retriever, services.database, services.cache, ttl_s=60, ranking="confinement")
    base = msgspec.structs.replace(shelf.principal, kind="publishable")
    confinements = [
        {},
        {"collections": ("kb",)},
        {"collections": ("shop",)},
        {"collections": ()},
        {"filter": IN_STOCK},
        {"max_hits": 3},
    ]
    seen = []
    for confinement in confinements:
        principal = msgspec.structs.replace(base, **confinement)
        first = await cached.search(principal, Query(text="lamp", limit=50))
        again = await cached.search(principal, Query(text="lamp", limit=50))
        assert (first.cache, again.cache) == ("miss", "hit")
        assert again.hits == first.hits
        seen.append(len(first.hits))
    assert seen == [8, 4, 4, 0, 4, 3]
