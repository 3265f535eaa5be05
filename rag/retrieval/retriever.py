"""From a query to hits: the page.

    corpus state -> embed -> wording -> lexical leg | dense leg -> rescore with the best sentence -> fuse -> arrange
    -> hydrate -> rerank? -> hits

Both legs see the same scope (tenant, groups, collections, filter) and give ids and scores; what is shown is read
under row-level security, in the same snapshot.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from rag.audit import actor_of
from rag.domain import ChunkId, Hit, Passage, Query, SearchResult
from rag.embedding.base import require_space
from rag.errors import NotFound
from rag.retrieval.arranging import Arranged, arrange
from rag.retrieval.confinement import confined
from rag.retrieval.dense import dense_candidates
from rag.retrieval.explain import explain_hit, explain_query
from rag.retrieval.facets import facets_of
from rag.retrieval.fusion import convex_combination
from rag.retrieval.highlighting import mark
from rag.retrieval.query_vectors import QueryVectors
from rag.retrieval.ranking import Leg, Ranking, dense_score
from rag.retrieval.rerank import CANDIDATES, Reranked, Reranker, rerank
from rag.retrieval.weighting import dense_share, typical_weight
from rag.retrieval.wording import Asked, Wording, understand
from rag.spelling import one_spelling
from rag.store.corpus import CollectionState, Corpus, read_corpus
from rag.store.database import Database, TenantConnection
from rag.store.incidents import Incidents
from rag.store.search import (
    LexicalPlan,
    SearchScope,
    hydrate,
    lexical_leg,
    rescore,
)
from rag.telemetry import LEAKS_CAUGHT, log, stage
from rag.tenancy import Principal

Vector = NDArray[np.float32]


class Retriever:
    """Searches a tenant's active embedding space and lexemes; keeps nothing between queries."""

    def __init__(
        self,
        database: Database,
        vectors: QueryVectors,
        reranker: Reranker,
        *,
        dense_weight: float,
        encoder_languages: Collection[str],
        timeout_s: float,
        incidents: Incidents | None = None,
    ) -> None:
        self._database = database
        self._incidents = incidents
        self._vectors = vectors
        self._reranker = reranker
        self._dense_weight = dense_weight
        self._encoder_languages = encoder_languages
        self._timeout_s = timeout_s

    async def search(self, principal: Principal, query: Query) -> SearchResult:
        """The hits of a query, best first; raises `NotFound` for a collection that the tenant does not have."""
        times: dict[str, float] = {}
        query = confined(principal, query)
        text = normalise(query.text)
        by_meaning = query.mode == "semantic" or (query.mode == "hybrid" and not query.sort)
        vector = await self._embed(principal, text, times) if by_meaning else None
        async with self._database.tenant(principal.tenant, snapshot=True, timeout_s=self._timeout_s) as connection:
            with stage("corpus", times):
                corpus = await read_corpus(connection, principal)
            require_space(self._vectors.encoder, space=corpus.space, model=corpus.model, revision=corpus.revision)
            chosen = choose_collections(corpus, query.collections)
            everywhere = query.collections is None and principal.collections is None
            numbers = None if everywhere else [c.collection_id for c in chosen]
            scope = SearchScope.of(principal.tenant, corpus, numbers, query.filter)
            languages = {c.language for c in chosen}
            asked = await self._understand(connection, principal, scope, query, text, corpus, chosen, times)
            if vector is not None and asked.wording.instead:
                vector = await self._embed(principal, asked.text, times)

            async def rank(depth: int) -> Ranking:
                return await self._rank(connection, principal, scope, asked, vector, languages, query, times, depth)

            ranking, arranged = await arrange(
                connection, scope, query, asked, rank, pins=any(c.has_pins for c in chosen)
            )
            wanted = _wanted(arranged, query)
            with stage("hydrate", times):
                passages = await hydrate(connection, scope, wanted)
            marks = await mark(connection, passages, asked.plan, languages) if query.highlight else {}
            facets = await facets_of(connection, scope, chosen, query.facets, asked.plan, times)
        self._count_leaks(principal, wanted, passages)
        order = await self._rerank(asked.text, arranged, passages, query, times)
        page = [*arranged.pinned, *order.ranked][query.offset : query.offset + query.limit]
        pinned = {chunk for chunk, _ in arranged.pinned}
        hits = [
            _hit(passages[chunk], score, ranking, marks.get(chunk, []), chunk in pinned, explain=query.explain)
            for chunk, score in page
            if chunk in passages
        ]
        explanation = explain_query(ranking, times, principal) | {
            "wording": asked.wording.told(),
            "rerank": order.told(self._reranker),
        }
        return SearchResult(
            hits=hits,
            evidence=ranking.evidence(),
            cache="miss",
            corpus_version=corpus.corpus_version,
            embedding_space=corpus.space,
            facets=facets.counts,
            facet_stats=facets.stats,
            corrected_query=asked.wording.corrected,
            fallback="semantic" if query.mode == "keyword" and ranking.dense else None,
            degraded=order.degraded,
            explain=explanation if query.explain else None,
        )

    async def _embed(self, principal: Principal, text: str, times: dict[str, float]) -> Vector:
        with stage("embed", times):
            return await self._vectors.of(principal.tenant, text)

    async def _understand(
        self,
        connection: TenantConnection,
        principal: Principal,
        scope: SearchScope,
        query: Query,
        text: str,
        corpus: Corpus,
        chosen: list[CollectionState],
        times: dict[str, float],
    ) -> Asked:
        if query.mode == "semantic":
            return Asked(text, Wording(text=text), None)
        everything = not corpus.restricted and principal.collections is None and principal.filter is None
        with stage("wording", times):
            return await understand(
                connection, scope, query, text, chosen, trusting=everything, confinement=principal.filter
            )

    async def _rank(
        self,
        connection: TenantConnection,
        principal: Principal,
        scope: SearchScope,
        asked: Asked,
        vector: Vector | None,
        languages: set[str],
        query: Query,
        times: dict[str, float],
        depth: int,
    ) -> Ranking:
        plan = asked.plan
        with stage("lexical", times):
            lexical = await lexical_leg(connection, scope, plan, limit=depth) if plan else []
        if vector is None and not lexical and (query.fallback or query.mode == "hybrid"):
            vector = await self._embed(principal, asked.text, times)
        if vector is None:
            return _lexical_only(lexical, plan)
        with stage("dense", times):
            dense, dense_plan = await dense_candidates(connection, scope, vector, limit=depth)
        candidates = list({chunk for chunk, _ in (*dense, *lexical)})
        with stage("rescore", times):
            rows = await rescore(connection, scope, candidates, vector, plan.weights if plan else None)
        typical = typical_weight(self._dense_weight, languages, read=self._encoder_languages)
        weight = 1.0 if plan is None or query.mode == "keyword" else dense_share(typical, plan.maximum)
        with stage("fuse", times):
            scored = {row.chunk_id: row for row in rows}
            fused = convex_combination(
                {key: dense_score(row) for key, row in scored.items()},
                {key: plan.share(row.bm25) for key, row in scored.items()} if plan else {},
                weight=weight,
            )
        return Ranking(
            fused=fused, scored=scored, dense=dense, lexical=lexical, plan=plan, weight=weight, dense_plan=dense_plan
        )

    async def _rerank(
        self, text: str, arranged: Arranged, passages: dict[ChunkId, Passage], query: Query, times: dict[str, float]
    ) -> Reranked:
        if not query.rerank or query.sort:
            return Reranked(arranged.order)
        with stage("rerank", times):
            return await rerank(self._reranker, text, arranged.order, passages)

    def _count_leaks(self, principal: Principal, wanted: list[ChunkId], passages: dict[ChunkId, Passage]) -> None:
        held_back = [chunk for chunk in wanted if chunk not in passages]
        if held_back:
            LEAKS_CAUGHT.inc(len(held_back))
            log.error("leak_caught", tenant=principal.slug, chunks=[str(chunk) for chunk in held_back])
            if self._incidents:
                self._incidents.alarm(principal.tenant, actor_of(principal), where="hydration", times=len(held_back))


def normalise(text: str) -> str:
    """The query as it is searched and cached: in one spelling, white space single."""
    return " ".join(one_spelling(text).split())


def choose_collections(corpus: Corpus, names: tuple[str, ...] | None) -> list[CollectionState]:
    """The collections of these names, all for None; raises `NotFound` for one that there is not."""
    if names is None:
        return corpus.collections
    known = {collection.name: collection for collection in corpus.collections}
    if missing := [name for name in names if name not in known]:
        raise NotFound(f"no collection '{missing[0]}'")
    return [known[name] for name in dict.fromkeys(names)]


def _wanted(arranged: Arranged, query: Query) -> list[ChunkId]:
    """What is to be read: the page, and what a reranker may bring onto it."""
    page = [*arranged.pinned, *arranged.order][query.offset : query.offset + query.limit]
    head = arranged.order[:CANDIDATES] if query.rerank else []
    return list(dict.fromkeys(chunk for chunk, _ in (*head, *page)))


def _lexical_only(lexical: Leg, plan: LexicalPlan | None) -> Ranking:
    fused = convex_combination({}, {key: plan.share(score) for key, score in lexical} if plan else {}, weight=0.0)
    return Ranking(fused=fused, scored={}, dense=[], lexical=lexical, plan=plan, weight=0.0, dense_plan=None)


def _hit(
    passage: Passage, score: float, ranking: Ranking, marks: list[tuple[int, int]], pinned: bool, *, explain: bool
) -> Hit:
    chunk = passage.chunk_id
    scored = ranking.scored.get(chunk)
    return Hit(
        chunk_id=chunk,
        document_id=passage.document_id,
        external_id=passage.external_id,
        document_version=passage.document_version,
        collection=passage.collection,
        title=passage.title,
        uri=passage.uri,
        heading_path=passage.heading_path,
        page=passage.page,
        text=passage.text,
        highlights=marks,
        score=round(score, 6),
        similarity=round(scored.cosine, 6) if scored else None,
        ranks=ranking.ranks(chunk),
        metadata=passage.metadata,
        pinned=pinned,
        explain=explain_hit(ranking, chunk) if explain else None,
    )
