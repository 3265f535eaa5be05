"""What a ranking is worth to one query: one formula a function.

A ranking is document ids, best first, each once. Judgements are grades by document id: relevant from 1 up, and what
is not judged counts as 0. The figures are those of trec_eval, which the tests compare with.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

Ranking = Sequence[str]
Judgements = Mapping[str, int]


def ranking_of(scores: Mapping[str, float]) -> list[str]:
    """The documents by score, best first; equal scores by id from the highest, as trec_eval orders them."""
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)


def ndcg(ranking: Ranking, judgements: Judgements, *, k: int) -> float:
    """Discounted gain of the first k over that of the best k there could be (Järvelin & Kekäläinen, TOIS 2002).

    The gain is the grade itself, the discount log2(rank + 1). 0 when nothing is relevant.
    """
    gains = _grades(ranking[:k], judgements)
    ideal = np.sort(_grades(list(judgements), judgements))[::-1][:k]
    best = _discounted(ideal)
    return _discounted(gains) / best if best else 0.0


def recall(ranking: Ranking, judgements: Judgements, *, k: int) -> float:
    """The share of the relevant documents that stand among the first k; 0 when nothing is relevant."""
    relevant = _count_relevant(judgements)
    return float(np.count_nonzero(_grades(ranking[:k], judgements))) / relevant if relevant else 0.0


def reciprocal_rank(ranking: Ranking, judgements: Judgements, *, k: int) -> float:
    """1 over the rank of the first relevant document, 0 when none is among the first k (Voorhees, TREC-8, 1999)."""
    found = np.flatnonzero(_grades(ranking[:k], judgements))
    return 1.0 / (int(found[0]) + 1) if found.size else 0.0


def average_precision(ranking: Ranking, judgements: Judgements) -> float:
    """The mean, over the relevant documents, of the precision where each stands (Buckley & Voorhees, SIGIR 2000).

    A relevant document that the ranking lacks adds 0; 0 when nothing is relevant.
    """
    relevant = _count_relevant(judgements)
    found = np.flatnonzero(_grades(ranking, judgements))
    precisions = np.arange(1, found.size + 1) / (found + 1)
    return float(precisions.sum()) / relevant if relevant else 0.0


def judged(ranking: Ranking, judgements: Judgements, *, k: int) -> float:
    """The share of the first k that somebody judged: far below 1, the other figures are lower bounds.

    Divided by k, also when the ranking is shorter.
    """
    return sum(document in judgements for document in ranking[:k]) / k


METRICS: Final[Mapping[str, Callable[[Ranking, Judgements], float]]] = {
    "ndcg@10": lambda ranking, judgements: ndcg(ranking, judgements, k=10),
    "recall@10": lambda ranking, judgements: recall(ranking, judgements, k=10),
    "recall@100": lambda ranking, judgements: recall(ranking, judgements, k=100),
    "mrr@10": lambda ranking, judgements: reciprocal_rank(ranking, judgements, k=10),
    "map": average_precision,
    "judged@10": lambda ranking, judgements: judged(ranking, judgements, k=10),
}


def measure(ranking: Ranking, judgements: Judgements) -> dict[str, float]:
    """Every metric of one query."""
    return {name: round(metric(ranking, judgements), 6) for name, metric in METRICS.items()}


def _grades(ranking: Ranking, judgements: Judgements) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([max(0, judgements.get(document, 0)) for document in ranking], dtype=np.float64)


def _discounted(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.sum(gains / np.log2(np.arange(2, gains.size + 2))))


def _count_relevant(judgements: Judgements) -> int:
    return sum(grade > 0 for grade in judgements.values())
