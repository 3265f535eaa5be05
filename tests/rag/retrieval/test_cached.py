"""The cache around the retriever: what it may give again, and what it must never."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rag.cache.base import NullCache
from rag.cache.redis import RedisCache
from rag.domain import Query, SearchResult, Sort
from rag.errors import NotFound
from rag.retrieval.cached import CachedRetriever, Entry, cache_key
from rag.store.collections import create_collection, delete_collection
from rag.store.corpus import read_corpus
from rag.store.documents import delete_document
from rag.telemetry import REGISTRY
from rag.tenancy import Principal


class Watched:
    """A searcher that counts its searches, and holds them at a gate while it is shut."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.searches = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def search(self, principal: Principal, query: Query) -> SearchResult:
        self.searches += 1
        self.waiting.set()
        await self.gate.wait()
        return await self.inner.search(principal, query)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def cache(settings):
    opened = RedisCache(settings.secret("redis_url"), max_value_bytes=100_000, timeout_s=30)
    yield opened
    await opened.close()


@pytest.fixture
def watched(retriever) -> Watched:
    return Watched(retriever)


@pytest.fixture
def cached(watched, services, cache) -> CachedRetriever:
    return CachedRetriever(watched, services.database, cache, ttl_s=60, ranking="0.7")


@pytest.fixture
async def shelf(stock, texts):
    owner = await stock("acme")
    await owner.serve_all(texts)
    return owner


@pytest.fixture
def search(cached, shelf) -> Callable:
    async def run(text: str, *groups: str, **more) -> SearchResult:
        return await cached.search(msgspec.structs.replace(shelf.principal, groups=groups), Query(text=text, **more))

    return run


async def key_of(owner, query: Query, *groups: str) -> str:
    principal = msgspec.structs.replace(owner.principal, groups=groups)
    async with owner.connect() as connection:
        return cache_key(principal, await read_corpus(connection, principal), query, "0.7")


def names(result: SearchResult) -> list[str]:
    return [hit.external_id for hit in result.hits]


# ---------------------------------------------------------------- hit, miss, bypass


async def test_the_second_time_it_is_a_hit_and_the_same(search, watched):
    first = await search("rear lamp", highlight=True)
    second = await search("rear lamp", highlight=True)
    assert (first.cache, second.cache, watched.searches) == ("miss", "hit", 1)
    assert msgspec.structs.replace(second, cache="miss") == first
    assert second.hits[0].highlights


async def test_lookups_are_counted_by_outcome(search):
    before = {outcome: sample("cloister_cache_lookups_total", outcome=outcome) for outcome in ("hit", "miss", "bypass")}
    await search("rear lamp")
    await search("rear lamp")
    await search("rear lamp", explain=True)
    for outcome, count in before.items():
        assert sample("cloister_cache_lookups_total", outcome=outcome) == count + 1


async def test_spellings_that_are_searched_alike_are_one(search, watched):
    await search("rear lamp")
    assert (await search("  rear \n lamp ")).cache == "hit"
    assert (await search("Rear lamp")).cache == "miss"
    assert watched.searches == 2


async def test_every_parameter_makes_another_result(search, watched):
    variants = [
        {},
        {"limit": 9},
        {"offset": 1},
        {"mode": "keyword"},
        {"collections": ("kb",)},
        {"collections": ()},
        {"filter": '($."a" == 1)'},
        {"highlight": True},
        {"rerank": True},
        {"prefix": True},
        {"correct": True},
        {"fallback": True},
        {"facets": ("brand",)},
        {"group_by": "document"},
        {"sort": Sort("price")},
        {"sort": Sort("price", "desc")},
    ]
    for variant in variants:
        assert (await search("rear lamp", **variant)).cache == "miss"
    assert watched.searches == len(variants)
    assert {field for variant in variants for field in variant} | {"text", "explain"} == set(Query.__struct_fields__)


async def test_what_is_explained_was_searched(search, watched):
    for _ in range(2):
        result = await search("rear lamp", explain=True)
        assert result.cache == "bypass"
        assert result.explain["cache"] == "bypass"
    assert watched.searches == 2


async def test_an_error_is_not_kept(search, shelf, watched):
    for _ in range(2):
        with pytest.raises(NotFound):
            await search("rear lamp", collections=("shop",))
    assert watched.searches == 2
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "shop")
    assert (await search("rear lamp", collections=("shop",))).hits == []


# ---------------------------------------------------------------- never stale


async def test_no_write_is_followed_by_what_was_before_it(search, shelf):
    async def now() -> set[str]:
        await search("lamp", limit=50)
        again = await search("lamp", limit=50)
        assert again.cache == "hit"
        return set(names(again))

    everything = await now()
    await shelf.serve("new", "A new lamp.")
    assert await now() == everything | {"new"}
    await shelf.serve("new", "A new lamp.", groups=["staff"])
    assert await now() == everything
    await shelf.serve("new", "A new lamp.", metadata={"a": 1})
    assert await now() == everything | {"new"}
    async with shelf.connect() as connection:
        await delete_document(connection, shelf.tenant, "kb", "new")
    assert await now() == everything
    async with shelf.connect() as connection:
        await delete_collection(connection, shelf.tenant, "kb")
    assert await now() == set()


async def test_a_write_during_the_search_does_not_leave_its_predecessor_behind(search, shelf, watched):
    watched.gate.clear()
    slow = asyncio.create_task(search("lamp", limit=50))
    await watched.waiting.wait()
    await shelf.serve("new", "A new lamp.")
    watched.gate.set()
    await slow
    assert "new" in names(await search("lamp", limit=50))


async def test_groups_are_part_of_the_key(search, shelf):
    await shelf.serve("staff", "The staff lamp.", groups=["staff"])
    assert "staff" in names(await search("lamp", "staff", limit=50))
    for groups in ((), ("other",)):
        result = await search("lamp", *groups, limit=50)
        assert (result.cache, "staff" in names(result)) == ("miss", False)
    assert (await search("lamp", "staff", limit=50)).cache == "hit"


async def test_a_set_of_groups_made_during_a_search_opens_nothing_to_those_who_wait_with_it(search, shelf, watched):
    """Both may read the same sets when they ask; the one that is made meanwhile is open to the first alone."""
    watched.gate.clear()
    insider = asyncio.create_task(search("lamp", "staff", limit=50))
    await watched.waiting.wait()
    outsider = asyncio.create_task(search("lamp", limit=50))
    for _ in range(50):
        await asyncio.sleep(0.01)  # until it has looked into the cache and waits
        if watched.searches == 2:
            break
    await shelf.serve("staff", "The staff lamp.", groups=["staff"])
    watched.gate.set()
    assert "staff" in names(await insider)
    assert "staff" not in names(await outsider)


# ---------------------------------------------------------------- tenants


async def test_the_tenant_is_part_of_the_key(search, shelf, stock, cached, texts):
    other = await stock("bolt")
    await other.serve_all(texts)
    ours = await search("rear lamp")
    theirs = await cached.search(other.principal, Query(text="rear lamp"))
    assert theirs.cache == "miss"
    assert not {hit.chunk_id for hit in ours.hits} & {hit.chunk_id for hit in theirs.hits}
    one, two = await key_of(shelf, Query(text="x")), await key_of(other, Query(text="x"))
    assert (str(shelf.tenant) in one, str(other.tenant) in two) == (True, True)


async def test_a_value_of_another_tenant_is_refused_and_counted(search, shelf, cache, absent_id):
    query = Query(text="rear lamp")
    truth = await search("rear lamp")
    key = await key_of(shelf, query)
    planted = msgspec.structs.replace(truth, hits=[])
    await cache.set(key, msgspec.msgpack.encode(Entry(absent_id, planted)), ttl_s=60)
    before = sample("cloister_leaks_caught_total")
    result = await search("rear lamp")
    assert (result.cache, result.hits) == ("miss", truth.hits)
    assert sample("cloister_leaks_caught_total") == before + 1


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x81\xa1a\x01", b"{}", "half"])
async def test_a_value_that_cannot_be_read_is_a_miss(search, shelf, cache, value):
    query = Query(text="rear lamp")
    await search("rear lamp")
    key = await key_of(shelf, query)
    whole = await cache.get(key)
    assert whole
    await cache.set(key, whole[: len(whole) // 2] if value == "half" else value, ttl_s=60)
    assert (await search("rear lamp")).cache == "miss"
    assert (await search("rear lamp")).cache == "hit"


# ---------------------------------------------------------------- one flight


async def test_equal_queries_at_once_are_searched_once(search, watched):
    watched.gate.clear()
    together = [asyncio.create_task(search("rear lamp")) for _ in range(8)]
    await watched.waiting.wait()
    await asyncio.sleep(0.2)
    watched.gate.set()
    results = await asyncio.gather(*together)
    assert watched.searches == 1
    assert all(result.hits == results[0].hits for result in results)


async def test_one_who_goes_away_takes_nobody_with_him(search, watched):
    watched.gate.clear()
    first = asyncio.create_task(search("rear lamp"))
    await watched.waiting.wait()
    second = asyncio.create_task(search("rear lamp"))
    await asyncio.sleep(0.1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    watched.gate.set()
    assert (await second).hits
    assert watched.searches == 1
    assert (await search("rear lamp")).cache == "hit"


async def test_a_failed_flight_is_everybodys_error_and_the_next_is_a_new_one(shelf, services, cache, retriever):
    class Failing(Watched):
        async def search(self, principal: Principal, query: Query) -> SearchResult:
            self.searches += 1
            if self.searches == 1:
                await asyncio.sleep(0.1)
                raise LookupError
            return await self.inner.search(principal, query)

    failing = Failing(retriever)
    cached = CachedRetriever(failing, services.database, cache, ttl_s=60, ranking="0.7")
    query = Query(text="rear lamp")
    both = await asyncio.gather(*(cached.search(shelf.principal, query) for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in both] == [LookupError, LookupError]
    assert (await cached.search(shelf.principal, query)).cache == "miss"
    assert failing.searches == 2


# ---------------------------------------------------------------- without a cache


async def test_without_a_cache_every_search_is_made(shelf, services, watched):
    cached = CachedRetriever(watched, services.database, NullCache(), ttl_s=60, ranking="0.7")
    for _ in range(2):
        result = await cached.search(shelf.principal, Query(text="rear lamp"))
        assert (result.cache, bool(result.hits)) == ("bypass", True)
    assert watched.searches == 2


async def test_a_cache_that_is_gone_is_passed_by(shelf, services, watched, tmp_path: Path):
    gone = RedisCache(f"unix://{tmp_path}/gone.sock", max_value_bytes=1000)
    cached = CachedRetriever(watched, services.database, gone, ttl_s=60, ranking="0.7")
    for _ in range(5):
        result = await cached.search(shelf.principal, Query(text="rear lamp"))
        assert (result.cache, bool(result.hits)) == ("bypass", True)
    assert watched.searches == 5
    await gone.close()


async def test_a_result_over_the_size_bound_is_searched_again(shelf, services, watched, settings):
    small = RedisCache(settings.secret("redis_url"), max_value_bytes=10, timeout_s=30)
    cached = CachedRetriever(watched, services.database, small, ttl_s=60, ranking="0.7")
    for _ in range(2):
        assert (await cached.search(shelf.principal, Query(text="rear lamp"))).cache == "miss"
    assert watched.searches == 2
    await small.close()


async def test_metadata_with_a_number_wider_than_the_cache_can_hold_is_no_error(search, shelf):
    await shelf.serve("wide", "A wide lamp.", metadata={"n": 2**70})
    for _ in range(2):
        hit = next(hit for hit in (await search("wide lamp")).hits if hit.external_id == "wide")
        assert hit.metadata == {"n": 2**70}
