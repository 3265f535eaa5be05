"""The order in which what was found is shown: one hit a document, by a field, pinned documents first."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from rag.domain import ChunkId, Query, Sort
from rag.retrieval.ranking import Leg, Ranking
from rag.retrieval.wording import Asked, fold
from rag.store.database import TenantConnection
from rag.store.matches import documents_of, pinned_chunks, sorted_matches
from rag.store.search import LexicalPlan, SearchScope

_DEPTH: Final = 50  # candidates of each leg that are rescored
_DEEPER: Final = 4  # times, when the chunks of a few documents filled the legs


class Arranged(msgspec.Struct, frozen=True):
    """Chunks with their scores in the order of the hits, and those that are pinned above them."""

    order: Leg
    pinned: Leg = []


Rank = Callable[[int], Awaitable[Ranking]]


async def arrange(
    connection: TenantConnection, scope: SearchScope, query: Query, asked: Asked, rank: Rank, *, pins: bool
) -> tuple[Ranking, Arranged]:
    """The ranking of a query, from `rank` of so many candidates a leg, and the order that its hits are to have."""
    if query.sort and asked.plan and (order := await _all_sorted(connection, scope, asked.plan, query, query.sort)):
        whole = Ranking(fused=order, scored={}, dense=[], lexical=[], plan=asked.plan, weight=0.0, dense_plan=None)
        return whole, Arranged(order)
    ranking = await rank(max(_DEPTH, query.offset + query.limit))
    if query.group_by == "document":
        ranking = await _one_a_document(connection, scope, query, ranking, rank)
    if query.sort:
        return ranking, Arranged(await _sorted(connection, scope, ranking.fused, query.sort))
    if pins:
        return ranking, await _pinned_first(connection, scope, query, ranking)
    return ranking, Arranged(ranking.fused)


async def _all_sorted(
    connection: TenantConnection, scope: SearchScope, plan: LexicalPlan, query: Query, sort: Sort
) -> Leg:
    """Every chunk that matches, by a field, as far as the query's page goes; with BM25 over its maximum."""
    if query.mode == "semantic":
        return []
    found = await sorted_matches(
        connection, scope, plan, sort, by_document=query.group_by == "document", limit=query.offset + query.limit
    )
    return [(chunk, plan.share(score)) for chunk, score in found]


async def _sorted(connection: TenantConnection, scope: SearchScope, order: Leg, sort: Sort) -> Leg:
    """Candidates by a field: for those that were found by meaning, where nothing says which of all match."""
    scores = dict(order)
    return [(chunk, scores[chunk]) for chunk in await documents_of(connection, scope, list(scores), sort)]


async def _one_a_document(
    connection: TenantConnection, scope: SearchScope, query: Query, ranking: Ranking, rank: Rank
) -> Ranking:
    """The best chunk of each document, as many as the page needs while there are as many.

    The ranking is asked for again, deeper, while the chunks of too few documents fill the legs.
    """
    wanted = query.offset + query.limit
    depth = max(_DEPTH, wanted)
    while True:
        owners = await documents_of(connection, scope, [chunk for chunk, _ in ranking.fused])
        first = _first_of_each(ranking.fused, owners)
        if len(first) >= wanted or not ranking.may_go_deeper(depth):
            return msgspec.structs.replace(ranking, fused=first)
        depth *= _DEEPER
        ranking = await rank(depth)


async def _pinned_first(connection: TenantConnection, scope: SearchScope, query: Query, ranking: Ranking) -> Arranged:
    """The documents that are pinned to the query above all others, as far as the caller may see them."""
    order, grouped = ranking.fused, query.group_by == "document"
    pins = await pinned_chunks(connection, scope, fold(query.text), ranking.plan)
    if not pins:
        return Arranged(order)
    scores = dict(order)
    owners = await documents_of(connection, scope, list(scores))
    best = {owners[chunk]: chunk for chunk in reversed(scores) if chunk in owners}
    above = [best.get(document, chunk) for document, chunk in pins.items()]
    below = [
        (chunk, score) for chunk, score in order if chunk not in above and not (grouped and owners.get(chunk) in pins)
    ]
    return Arranged(below, [(chunk, scores.get(chunk, 0.0)) for chunk in above])


def _first_of_each(order: Sequence[tuple[ChunkId, float]], owners: Mapping[ChunkId, UUID]) -> Leg:
    seen: set[UUID] = set()
    first: Leg = []
    for chunk, score in order:
        owner = owners.get(chunk)
        if owner is not None and owner not in seen:
            seen.add(owner)
            first.append((chunk, score))
    return first
