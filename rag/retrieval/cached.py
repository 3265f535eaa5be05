"""The cache around the retriever, with the retriever's own signature.

The key holds all that a result depends on: tenant, what the caller may read, corpus version, space, and the query
with every parameter. The corpus version is bumped in the transaction of each write and read with each request, so no
committed write is followed by a result from before it.
"""

import asyncio
import hashlib
from typing import Final

import msgspec

from rag.audit import actor_of
from rag.cache.base import Cache, CacheUnavailable
from rag.domain import CacheStatus, Query, SearchResult, TenantId
from rag.retrieval.base import Searcher
from rag.retrieval.retriever import normalise
from rag.store.corpus import Corpus, read_corpus
from rag.store.database import Database
from rag.store.incidents import Incidents
from rag.telemetry import CACHE_LOOKUPS, LEAKS_CAUGHT, log, stage
from rag.tenancy import Principal

_FORMAT: Final = "2"  # of the cached value: a release that changes SearchResult changes this


class Entry(msgspec.Struct, frozen=True):
    """A cached result with the tenant it belongs to, which is checked when it is read."""

    tenant: TenantId
    result: SearchResult


class CachedRetriever:
    """Answers from the cache when it can; equal queries that arrive together are searched once."""

    def __init__(
        self,
        inner: Searcher,
        database: Database,
        cache: Cache,
        *,
        ttl_s: int,
        ranking: str,
        incidents: Incidents | None = None,
    ) -> None:
        self._inner = inner
        self._database = database
        self._cache = cache
        self._ttl_s = ttl_s
        self._incidents = incidents
        self._ranking = ranking  # what the ranking was set to: another setting, another result
        self._flights: dict[str, asyncio.Task[SearchResult]] = {}

    async def search(self, principal: Principal, query: Query) -> SearchResult:
        """The hits of a query; its `cache` says where they came from."""
        if query.explain:
            return await self._bypass(principal, query)
        with stage("cache"):
            async with self._database.tenant(principal.tenant, snapshot=True) as connection:
                corpus = await read_corpus(connection, principal)
            key = cache_key(principal, corpus, query, self._ranking)
            try:
                found = await self._read(principal, key)
            except CacheUnavailable:
                found = None
                reachable = False
            else:
                reachable = True
        if not reachable:
            return await self._bypass(principal, query)
        CACHE_LOOKUPS.labels("hit" if found else "miss").inc()
        if found:
            return msgspec.structs.replace(found, cache="hit")
        return await self._fly(principal, query, key)

    async def _bypass(self, principal: Principal, query: Query) -> SearchResult:
        CACHE_LOOKUPS.labels("bypass").inc()
        status: CacheStatus = "bypass"
        result = await self._inner.search(principal, query)
        explained = result.explain and {**result.explain, "cache": status}
        return msgspec.structs.replace(result, cache=status, explain=explained)

    async def _read(self, principal: Principal, key: str) -> SearchResult | None:
        raw = await self._cache.get(key)
        if raw is None:
            return None
        try:
            entry = msgspec.msgpack.decode(raw, type=Entry)
        except msgspec.DecodeError:
            return None
        if entry.tenant != principal.tenant:
            LEAKS_CAUGHT.inc()
            log.error("leak_caught", tenant=principal.slug, where="cache")
            if self._incidents:
                self._incidents.alarm(principal.tenant, actor_of(principal), where="cache", times=1)
            return None
        return entry.result

    async def _fly(self, principal: Principal, query: Query, key: str) -> SearchResult:
        # The flight outlives a caller that goes away: others may be waiting for it.
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._search_and_keep(principal, query, key))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    async def _search_and_keep(self, principal: Principal, query: Query, key: str) -> SearchResult:
        try:
            fence = await self._cache.fence(str(principal.tenant))
        except CacheUnavailable:
            return await self._inner.search(principal, query)
        result = await self._inner.search(principal, query)
        if result.degraded:
            return result
        try:
            entry = msgspec.msgpack.encode(Entry(principal.tenant, result))
            await self._cache.set(key, entry, ttl_s=self._ttl_s, fence=fence)
        except (CacheUnavailable, OverflowError) as error:  # a number in the metadata may be wider than 64 bits
            log.debug("cache_not_written", reason=type(error).__name__)
        return result


def cache_key(principal: Principal, corpus: Corpus, query: Query, ranking: str) -> str:
    """The key of a query's result: the tenant in clear, the rest digested.

    What confines the caller stands in it as it is, since the searcher applies it. The groups stand beside the sets they
    open: a set made while a search is under way opens to some who share the sets of before, and not to others.
    """
    parts = [
        _FORMAT,
        ranking,
        corpus.corpus_version,
        corpus.space,
        corpus.acl_ids,
        sorted(principal.groups),
        [principal.collections, principal.filter, principal.max_hits],
        msgspec.structs.replace(query, text=normalise(query.text)),
    ]
    digest = hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()
    return f"search:{principal.tenant}:{digest}"
