"""The weights of the hybrid ranking, over a grid: search once, score many times.

What is scored again are the 100 candidates that each search returned, with their explained scores: a chunk that the
present weights leave out of the first 100 is not seen, which no weight near them would bring into the first 10.
"""

from collections.abc import Sequence
from itertools import product
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from eval.corpus import corpus_in_service
from eval.datasets import Dataset
from eval.metrics import ndcg, ranking_of, recall
from eval.runner import DEPTH
from rag.domain import Query, SearchResult
from rag.retrieval.weighting import dense_share
from rag.services import Services

GROWTHS: Final = (0.0, 0.25, 0.5, 1.0)
SHARES: Final = (0.0, 0.25, 0.5, 0.75)
WEIGHTS: Final = (0.0, 0.4, 0.5, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0)

Floats = NDArray[np.float64]


class Candidates(msgspec.Struct, frozen=True):
    """A query's candidate chunks: the document of each, and what it scores in each leg, as (n,) arrays.

    `mass` is the sum of its lexemes' IDFs, 0 when it has none.
    """

    documents: list[str]
    cosine: Floats
    best_sentence: Floats
    lexical: Floats
    mass: float

    @classmethod
    def of(cls, result: SearchResult) -> "Candidates":
        """The candidates behind an explained result."""
        explained = [hit.explain or {} for hit in result.hits]
        mass = (result.explain or {}).get("lexical", {}).get("mass") or 0.0
        cosine, best_sentence, lexical = (_column(explained, key) for key in ("cosine", "best_sentence", "lexical"))
        return cls([hit.external_id for hit in result.hits], cosine, best_sentence, lexical, mass)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """The figures at one point of the grid; weight 1 is the dense leg alone, 0 the lexical one."""

    growth: float
    sentence_share: float
    dense_weight: float
    ndcg10: float
    recall10: float


class Grid(msgspec.Struct, frozen=True):
    """A data set's grid."""

    dataset: str
    queries: int
    cells: list[Cell]


async def tune_fusion(services: Services, dataset: Dataset, *, language: str = "english", keep: bool = False) -> Grid:
    """Score a data set's hybrid ranking at every point of the grid."""
    found: dict[str, Candidates] = {}
    async with corpus_in_service(services, dataset, language=language, keep=keep) as loaded:
        for topic in dataset.answerable:
            query = Query(text=topic.text, limit=DEPTH, explain=True)
            found[topic.id] = Candidates.of(await services.searcher.search(loaded.principal, query))
    return Grid(dataset.name, len(found), grid_of(found, dataset))


def grid_of(found: dict[str, Candidates], dataset: Dataset) -> list[Cell]:
    """Every cell, best nDCG@10 first."""
    cells = [_cell(found, dataset, *point) for point in product(GROWTHS, SHARES, WEIGHTS)]
    return sorted(cells, key=lambda cell: -cell.ndcg10)


def fused(candidates: Candidates, *, growth: float, sentence_share: float, dense_weight: float) -> dict[str, float]:
    """Documents by the fused score of their best chunk."""
    weight = dense_share(dense_weight, candidates.mass, growth=growth) if candidates.mass else 1.0
    dense = (1 - sentence_share) * candidates.cosine + sentence_share * candidates.best_sentence
    scores: dict[str, float] = {}
    for document, score in zip(candidates.documents, weight * dense + (1 - weight) * candidates.lexical, strict=True):
        scores[document] = max(float(score), scores.get(document, -1.0))
    return scores


def _cell(found: dict[str, Candidates], dataset: Dataset, growth: float, share: float, weight: float) -> Cell:
    figures = []
    for query, candidates in found.items():
        scores = fused(candidates, growth=growth, sentence_share=share, dense_weight=weight)
        ranking = ranking_of(scores)
        judgements = dataset.qrels[query]
        figures.append((ndcg(ranking, judgements, k=10), recall(ranking, judgements, k=10)))
    means = np.mean(figures, axis=0)
    return Cell(
        growth=growth,
        sentence_share=share,
        dense_weight=weight,
        ndcg10=round(float(means[0]), 4),
        recall10=round(float(means[1]), 4),
    )


def _column(explained: Sequence[dict[str, object]], key: str) -> Floats:
    return np.array([row.get(key) or 0.0 for row in explained], dtype=np.float64)
