"""The weights of the hybrid ranking, over a grid: search once, score many times.

What is scored again are the 100 candidates that each search returned, with their explained scores: a chunk that the
present weights leave out of the first 100 is not seen, which no weight near them would bring into the first 10.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from eval.corpus import corpus_in_service
from eval.datasets import Dataset
from eval.metrics import ndcg, ranking_of, recall
from eval.runner import DEPTH
from rag.domain import Hit, Query
from rag.services import Services

SHARES: Final = (0.0, 0.25, 0.5, 0.75)
WEIGHTS: Final = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Normalisation = Literal["theoretical", "observed"]
Floats = NDArray[np.float64]


class Candidates(msgspec.Struct, frozen=True):
    """A query's candidate chunks: the document of each, and what it scores in each leg, as (n,) arrays."""

    documents: list[str]
    cosine: Floats
    best_sentence: Floats
    lexical: Floats

    @classmethod
    def of(cls, hits: Sequence[Hit]) -> "Candidates":
        """The candidates behind explained hits."""
        explained = [hit.explain or {} for hit in hits]
        return cls([hit.external_id for hit in hits], *(_column(explained, key) for key in _COLUMNS))


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """The figures at one point of the grid; weight 1 is the dense leg alone, 0 the lexical one."""

    normalisation: Normalisation
    sentence_share: float
    dense_weight: float
    ndcg10: float
    recall10: float


class Grid(msgspec.Struct, frozen=True):
    """A data set's grid."""

    dataset: str
    queries: int
    cells: list[Cell]


_COLUMNS: Final = ("cosine", "best_sentence", "lexical")


async def tune_fusion(services: Services, dataset: Dataset, *, language: str = "english", keep: bool = False) -> Grid:
    """Score a data set's hybrid ranking at every point of the grid."""
    found: dict[str, Candidates] = {}
    async with corpus_in_service(services, dataset, language=language, keep=keep) as loaded:
        for topic in dataset.answerable:
            query = Query(text=topic.text, limit=DEPTH, explain=True)
            found[topic.id] = Candidates.of((await services.searcher.search(loaded.principal, query)).hits)
    return Grid(dataset.name, len(found), grid_of(found, dataset))


def grid_of(found: dict[str, Candidates], dataset: Dataset) -> list[Cell]:
    """Every cell, best nDCG@10 first."""
    norms: tuple[Normalisation, ...] = ("theoretical", "observed")
    cells = [_cell(found, dataset, norm, share, weight) for norm in norms for share in SHARES for weight in WEIGHTS]
    return sorted(cells, key=lambda cell: -cell.ndcg10)


def fused(
    candidates: Candidates, *, normalisation: Normalisation, sentence_share: float, dense_weight: float
) -> dict[str, float]:
    """Documents by the fused score of their best chunk.

    `theoretical` takes BM25 over the sum of the query's IDFs, as the retriever does; `observed` over the best of the
    candidates.
    """
    lexical = candidates.lexical
    if normalisation == "observed":
        lexical = lexical / max(float(lexical.max(initial=0.0)), 1e-9)
    dense = (1 - sentence_share) * candidates.cosine + sentence_share * candidates.best_sentence
    scores: dict[str, float] = {}
    for document, score in zip(candidates.documents, dense_weight * dense + (1 - dense_weight) * lexical, strict=True):
        scores[document] = max(float(score), scores.get(document, -1.0))
    return scores


def _cell(
    found: dict[str, Candidates], dataset: Dataset, normalisation: Normalisation, share: float, weight: float
) -> Cell:
    figures = []
    for query, candidates in found.items():
        scores = fused(candidates, normalisation=normalisation, sentence_share=share, dense_weight=weight)
        ranking = ranking_of(scores)
        judgements = dataset.qrels[query]
        figures.append((ndcg(ranking, judgements, k=10), recall(ranking, judgements, k=10)))
    means = np.mean(figures, axis=0)
    return Cell(
        normalisation=normalisation,
        sentence_share=share,
        dense_weight=weight,
        ndcg10=round(float(means[0]), 4),
        recall10=round(float(means[1]), 4),
    )


def _column(explained: Sequence[dict[str, object]], key: str) -> Floats:
    return np.array([row.get(key) or 0.0 for row in explained], dtype=np.float64)
