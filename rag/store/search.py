"""The legs of a search, and what stands behind the ids they name."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector, SparseVector
from psycopg.types.json import Jsonb

from rag.domain import ChunkId, Passage, TenantId
from rag.store.corpus import Corpus
from rag.store.database import TenantConnection
from rag.store.statements import in_space, statement

Vector = NDArray[np.float32]

_BREADTH = 500  # candidate rows the lexical leg aims at: terms are taken, rarest first, until as many are expected


class LexicalPlan(msgspec.Struct, frozen=True):
    """A query as the lexical leg sees it; `maximum` is the highest score a chunk could have, the sum of the IDFs.

    `terms` find the candidates, rarest first; `every_term` are all that the query names. A beginning and what stands
    for a word count once in the maximum, though a chunk may hold several of the words that they match.
    """

    weights: Any
    maximum: float
    terms: str
    every_term: str
    lexemes: list[str]
    known: int

    def share(self, bm25: float) -> float:
        """A chunk's score over the highest that it could have, 0 to 1."""
        return min(1.0, bm25 / self.maximum)


class SearchScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a search may look at: the same in both legs. `collections` None means all.

    `chunks` counts those of the collections and `tenant_chunks` all of the tenant's, `restricted` says that groups
    close some of them, and `partitioned` that their vectors stand in a partition of the tenant's own.
    """

    tenant: TenantId
    space: str
    acl: list[int]
    collections: list[int] | None
    filter: str | None
    chunks: int = 0
    tenant_chunks: int = 0
    restricted: bool = False
    partitioned: bool = False

    @classmethod
    def of(cls, tenant: TenantId, corpus: Corpus, collections: list[int] | None, filter: str | None) -> "SearchScope":  # noqa: A002
        """The scope of a query over a corpus as its principal may see it."""
        searched = [c for c in corpus.collections if collections is None or c.collection_id in collections]
        return cls(
            tenant=tenant,
            space=corpus.space,
            acl=corpus.acl_ids,
            collections=collections,
            filter=filter,
            chunks=sum(c.chunk_count for c in searched),
            tenant_chunks=corpus.chunk_count,
            restricted=corpus.restricted,
            partitioned=corpus.partitioned,
        )


class Scored(msgspec.Struct, frozen=True):
    """A candidate's scores; `bm25` is not yet over its maximum."""

    chunk_id: ChunkId
    cosine: float
    best_sentence: float
    bm25: float


class Near(msgspec.Struct, frozen=True):
    """What the approximate index named: a chunk in scope, its cosine, its rank from 1 among all of the tenant's."""

    chunk_id: ChunkId
    score: float
    overall: int


class ScoredSentence(msgspec.Struct, frozen=True):
    """A sentence of a chunk, its span in the version's text, its cosine to the query."""

    chunk_id: ChunkId
    ordinal: int
    span_start: int
    span_end: int
    similarity: float


class Alternative(msgspec.Struct, frozen=True):
    """A text that may stand for a word or phrase of the query, at a share of its weight."""

    stands_for: str
    text: str
    factor: float


async def lexical_plan(
    connection: TenantConnection,
    tenant: TenantId,
    query: str,
    languages: Iterable[str],
    *,
    beginning: str | None = None,
    alternatives: Sequence[Alternative] = (),
) -> LexicalPlan | None:
    """The query's lexemes weighed by the tenant's own statistics; None when only stop words are left.

    `beginning` is the query's last word, which is not in `query`, when it may go on.
    """
    values = {
        "tenant": tenant,
        "query": query,
        "languages": sorted(set(languages)),
        "breadth": _BREADTH,
        "beginning": beginning,
        "alternatives": Jsonb(msgspec.to_builtins(alternatives)),
    }
    row = await (await connection.execute(statement("search.lexical_plan"), values)).fetchone()
    return LexicalPlan(**row) if row and row["terms"] else None


async def lexical_leg(
    connection: TenantConnection, scope: SearchScope, plan: LexicalPlan, *, limit: int
) -> list[tuple[ChunkId, float]]:
    """The chunks that hold any of the plan's terms, best BM25 first."""
    values = {**_values(scope), "terms": plan.terms, "weights": plan.weights, "limit": limit}
    rows = await (await connection.execute(statement("search.lexical"), values)).fetchall()
    return [(row["chunk_id"], row["score"]) for row in rows]


async def dense_leg(
    connection: TenantConnection, scope: SearchScope, vector: Vector, *, limit: int
) -> list[tuple[ChunkId, float]]:
    """The chunks nearest to a query vector (dim,), best cosine first; exact."""
    name = "search.dense" if scope.filter is None else "search.dense_filtered"
    values = {**_values(scope), "vector": HalfVector(vector), "limit": limit}
    rows = await (await connection.execute(in_space(name, scope.space), values)).fetchall()
    return [(row["chunk_id"], row["score"]) for row in rows]


async def nearest_leg(
    connection: TenantConnection, scope: SearchScope, vector: Vector, *, fetch: int, effort: int, limit: int
) -> list[Near]:
    """Those of the tenant's `fetch` nearest chunks that are in scope, best cosine first, at most `limit`.

    By the approximate index of the tenant's own partition, searched with `effort` (hnsw.ef_search, at least `fetch`).
    As many as `limit` are the nearest there are, up to the recall of the index; fewer say nothing of the rest.
    """
    bounds = {"space": scope.space, "fetch": fetch, "effort": effort, "limit": limit}
    values = {**_values(scope), **bounds, "vector": HalfVector(vector)}
    rows = await (await connection.execute(statement("search.nearest"), values)).fetchall()
    return [Near(**row) for row in rows]


async def share_in_scope(connection: TenantConnection, scope: SearchScope, *, sample: int) -> float:
    """About which part of the tenant's chunks is in scope, 0 to 1, from so many of its documents."""
    values = {**_values(scope), "sample": sample}
    row = await (await connection.execute(statement("search.share_in_scope"), values)).fetchone()
    return float(row["share"]) if row else 0.0


async def rescore(
    connection: TenantConnection,
    scope: SearchScope,
    chunks: Sequence[ChunkId],
    vector: Vector,
    weights: SparseVector | None,
) -> list[Scored]:
    """Every score of every candidate, whichever leg it came from."""
    values = {**_values(scope), "chunks": list(chunks), "vector": HalfVector(vector), "weights": weights}
    rows = await (await connection.execute(in_space("search.rescore", scope.space), values)).fetchall()
    return [_scored(row) for row in rows]


async def hydrate(
    connection: TenantConnection, scope: SearchScope, chunks: Sequence[ChunkId]
) -> dict[ChunkId, Passage]:
    """What stands behind the ids; one that row-level security holds back is missing from the dict."""
    values = {"tenant": scope.tenant, "chunks": list(chunks), "acl": scope.acl}
    rows = await (await connection.execute(statement("search.hydrate"), values)).fetchall()
    return {row["chunk_id"]: Passage(**row) for row in rows}


async def matching_words(
    connection: TenantConnection, words: Iterable[str], terms: str, languages: Iterable[str]
) -> set[str]:
    """Which of these words a query's terms match, in any of the languages."""
    values = {"words": sorted(set(words)), "terms": terms, "languages": sorted(set(languages))}
    rows = await (await connection.execute(statement("search.matching_words"), values)).fetchall()
    return {row["word"] for row in rows}


async def sentences_of(
    connection: TenantConnection, scope: SearchScope, chunks: Sequence[ChunkId], vector: Vector
) -> list[ScoredSentence]:
    """The sentences of these chunks, chunk by chunk in reading order."""
    values = {"tenant": scope.tenant, "chunks": list(chunks), "vector": HalfVector(vector)}
    rows = await (await connection.execute(in_space("search.sentences", scope.space), values)).fetchall()
    return [ScoredSentence(**row) for row in rows]


def _scored(row: dict[str, Any]) -> Scored:
    best = row["cosine"] if row["best_sentence"] is None else row["best_sentence"]
    return Scored(row["chunk_id"], row["cosine"], best, row["bm25"])


def _values(scope: SearchScope) -> dict[str, Any]:
    return {
        "tenant": scope.tenant,
        "collections": scope.collections,
        "acl": scope.acl,
        "filter": scope.filter,
    }
