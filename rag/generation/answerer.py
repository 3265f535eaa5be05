"""From a question to a grounded answer: the page.

search -> sufficient? -> passages and their sentences -> gateway -> citations verified -> answer | refusal -> kept
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from rag.domain import Answer, ChunkId, Hit, Passage, Query, Refusal, RefusalCode, SearchResult
from rag.gateway.base import Draft, Gateway, Source
from rag.generation.citations import Cited, Span, span_of, verify
from rag.generation.sufficiency import sufficiency
from rag.retrieval.base import Searcher
from rag.retrieval.query_vectors import QueryVectors
from rag.retrieval.retriever import normalise
from rag.store.answers import get_answer, keep_answer
from rag.store.corpus import Corpus, read_corpus
from rag.store.database import Database, TenantConnection
from rag.store.documents import read_spans
from rag.store.search import ScoredSentence, SearchScope, hydrate, sentences_of
from rag.telemetry import ANSWERS, stage
from rag.tenancy import Principal

_PASSAGES: Final = 8
_NEAREST: Final = 3

_MESSAGES: Final[dict[RefusalCode, str]] = {
    "no_results": "Nothing in the knowledge base matches this question.",
    "thin_context": "The knowledge base does not seem to answer this question. The nearest sources are listed; "
    "rephrase the question, or ask whoever keeps the knowledge base to add the answer.",
    "uncited": "An answer was written, but none of it could be traced to a source, so it is withheld.",
}


class Answerer:
    """Answers questions from a tenant's corpus, through one gateway."""

    def __init__(
        self,
        searcher: Searcher,
        database: Database,
        vectors: QueryVectors,
        gateway: Gateway,
        *,
        refusal_threshold: float,
    ) -> None:
        self._searcher = searcher
        self._database = database
        self._vectors = vectors
        self._gateway = gateway
        self._refusal_threshold = refusal_threshold

    async def answer(
        self,
        principal: Principal,
        *,
        question: str,
        collections: tuple[str, ...] | None = None,
        filter: str | None = None,  # noqa: A002 - the word of the contract
        max_citations: int = 5,
        request_id: str = "",
    ) -> Answer:
        """An answer whose every sentence is cited, or a refusal; stored before it is returned."""
        started = time.perf_counter()
        query = Query(text=question, collections=collections, filter=filter, limit=_PASSAGES)
        result = await self._searcher.search(principal, query)
        confidence = sufficiency(result.evidence) if result.hits else 0.0
        vector = await self._vectors.of(principal.tenant, normalise(question))
        with stage("evidence"):
            async with self._database.tenant(principal.tenant, snapshot=True) as connection:
                corpus = await read_corpus(connection, principal)
                scope = SearchScope.of(principal.tenant, corpus, None, None)
                found = await hydrate(connection, scope, [ChunkId(hit.chunk_id) for hit in result.hits])
                passages = [found[ChunkId(hit.chunk_id)] for hit in result.hits if hit.chunk_id in found]
                sentences = await sentences_of(connection, scope, [p.chunk_id for p in passages], vector)
        sources = sources_of(passages, sentences, {hit.chunk_id: hit.score for hit in result.hits})
        code = self._refuses(result, confidence, corpus)
        draft, cited = Draft([]), Cited([], [])
        if code is None:
            with stage("gateway"):
                draft = await self._gateway.answer(question, passages, sources)
            cited = await self._verify(principal, draft, sources, passages, max_citations)
            code = None if cited.sentences else "uncited" if passages else "no_results"
        answer = Answer(
            id=uuid4(),
            status="refused" if code else "answered",
            text=" ".join(sentence.text for sentence in cited.sentences),
            sentences=cited.sentences,
            citations=cited.citations,
            refusal=_refusal(code, result.hits) if code else None,
            confidence=round(confidence, 4),
            gateway=self._gateway.name,
            model=draft.model,
            usage=draft.usage,
            took_ms=round((time.perf_counter() - started) * 1000, 2),
            request_id=request_id,
        )
        ANSWERS.labels(code or "answered").inc()
        with stage("keep"):
            async with self._database.tenant(principal.tenant) as writing:
                await self._keep(writing, principal, answer, question, result)
        return answer

    async def get(self, principal: Principal, answer_id: UUID) -> Answer:
        """An answer that was given before; raises `NotFound` also when it rests on what the caller may not read."""
        async with self._database.tenant(principal.tenant, snapshot=True) as connection:
            corpus = await read_corpus(connection, principal)
            return await get_answer(connection, principal.tenant, answer_id, acl=corpus.acl_ids)

    def _refuses(self, result: SearchResult, confidence: float, corpus: Corpus) -> RefusalCode | None:
        if not result.hits:
            return "no_results"
        own = {c.name: c.refusal_threshold for c in corpus.collections}.get(result.hits[0].collection)
        threshold = self._refusal_threshold if own is None else own
        return "thin_context" if confidence < threshold else None

    async def _verify(
        self,
        principal: Principal,
        draft: Draft,
        sources: Sequence[Source],
        passages: Sequence[Passage],
        max_citations: int,
    ) -> Cited:
        used = {i for claim in draft.claims for i in claim.sources if 0 <= i < len(sources)}
        spans: list[Span] = [span_of(sources[i], passages) for i in sorted(used)]
        with stage("verify"):
            async with self._database.tenant(principal.tenant, snapshot=True) as connection:
                stored = await read_spans(connection, principal.tenant, spans)
        return verify(draft.claims, sources, passages, stored, max_citations=max_citations)

    async def _keep(
        self,
        connection: TenantConnection,
        principal: Principal,
        answer: Answer,
        question: str,
        result: SearchResult,
    ) -> None:
        passages: list[dict[str, Any]] = [
            {"chunk_id": hit.chunk_id, "version": hit.document_version, "score": hit.score, "ranks": hit.ranks}
            for hit in result.hits
        ]
        await keep_answer(
            connection,
            principal.tenant,
            answer,
            key=principal.key_id,
            question=question,
            corpus_version=result.corpus_version,
            space=result.embedding_space,
            passages=passages,
            user=principal.user,
        )


def sources_of(
    passages: Sequence[Passage], sentences: Sequence[ScoredSentence], scores: Mapping[UUID, float]
) -> list[Source]:
    """The sentences that may be cited, passage by passage in reading order."""
    place = {passage.chunk_id: index for index, passage in enumerate(passages)}
    sources = [
        Source(place[s.chunk_id], s.span_start, s.span_end, text, s.similarity, scores[s.chunk_id])
        for s in sentences
        if (text := _slice(passages[place[s.chunk_id]], s.span_start, s.span_end))
    ]
    return sorted(sources, key=lambda source: (source.passage, source.start))


def _slice(passage: Passage, start: int, end: int) -> str:
    return passage.text[start - passage.span_start : end - passage.span_start]


def _refusal(code: RefusalCode, hits: Sequence[Hit]) -> Refusal:
    return Refusal(code, _MESSAGES[code], list(hits[:_NEAREST]))
