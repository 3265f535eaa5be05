"""A retrieval run: the page.

    corpus in service -> each query in each mode -> chunks to documents -> metrics -> a run to keep

What is measured is what is served: the same ingestion, the same searcher, only the cache is passed by.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from eval.corpus import Loaded, corpus_in_service
from eval.datasets import Dataset, Topic
from eval.metrics import measure, ranking_of
from eval.report import Config, Measured, Rankings, Run, make_config
from rag.domain import Hit, Mode, Query
from rag.services import Services
from rag.tenancy import Principal

DEPTH: Final = 100  # hits asked for: chunks, so that a query can come to fewer documents

Follow = Callable[[Mode, int, int], None]


async def run_retrieval(
    services: Services,
    dataset: Dataset,
    *,
    modes: Sequence[Mode] = ("hybrid", "semantic", "keyword"),
    limit_queries: int | None = None,
    language: str = "english",
    fresh: bool = False,
    keep: bool = False,
    follow: Follow = lambda _mode, _done, _total: None,
) -> Run:
    """Search a data set's corpus with its queries, in each mode, and measure what comes back.

    Queries without a relevant document are left out; `limit_queries` takes the first so many of the others.
    """
    topics = dataset.answerable[:limit_queries]
    async with corpus_in_service(services, dataset, language=language, fresh=fresh, keep=keep) as loaded:
        rankings = {mode: await _search(services, loaded.principal, topics, mode, follow) for mode in modes}
        config = await _config(services, dataset, loaded, topics, language)
    return Run(
        config=config,
        queries={topic.id: topic.text for topic in topics},
        rankings=rankings,
        measured={mode: measured(rankings[mode], dataset) for mode in modes},
    )


def measured(rankings: Rankings, dataset: Dataset) -> Measured:
    """Every metric of every query, and the means."""
    per_query = {query: measure(ranking_of(scores), dataset.qrels[query]) for query, scores in rankings.items()}
    return Measured.of(per_query)


def documents_of(hits: Sequence[Hit]) -> dict[str, float]:
    """Documents by the score of their best chunk."""
    scores: dict[str, float] = {}
    for hit in hits:
        scores[hit.external_id] = max(hit.score, scores.get(hit.external_id, hit.score))
    return scores


async def _search(
    services: Services, principal: Principal, topics: Sequence[Topic], mode: Mode, follow: Follow
) -> Rankings:
    rankings: Rankings = {}
    for number, topic in enumerate(topics, 1):
        # An explained search goes past the cache: what is measured is this build, not what an earlier one left there.
        query = Query(text=topic.text, mode=mode, limit=DEPTH, explain=True)
        result = await services.searcher.search(principal, query)
        rankings[topic.id] = documents_of(result.hits)
        follow(mode, number, len(topics))
    return rankings


async def _config(
    services: Services, dataset: Dataset, loaded: Loaded, topics: Sequence[Topic], language: str
) -> Config:
    async with services.database.control() as control:
        server = control.info.server_version
    return make_config(
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        corpus_digest=dataset.corpus_digest,
        created_at=datetime.now(UTC),
        documents=loaded.documents,
        chunks=loaded.chunks,
        dead_documents=loaded.dead,
        queries=len(topics),
        language=language,
        depth=DEPTH,
        dense_weight=services.settings.dense_weight,
        encoder=services.encoder,
        postgresql=server,
    )
