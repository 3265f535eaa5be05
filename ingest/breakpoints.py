"""Where to cut a long section: between sentences, where the subject changes, at about the wanted length."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from rag.embedding.base import Matrix

WINDOW: Final = 3
TARGET_PIECES: Final = 168
FEW_PIECES: Final = 60
_EQUAL: Final = 1e-9  # a deviation that is rounding
_SIMILARITY_WEIGHT: Final = 0.15
_LENGTH_WEIGHT: Final = 0.35


def window_similarities(vectors: Matrix) -> list[float]:
    """Compare the three sentences before each inner boundary with the three after it, by cosine.

    `vectors` are (n, dim), L2-normalised, in reading order; the result has n - 1 values, none for n < 2. The
    neighbours alone say little of a change of subject: recall@1 .559 against .620 (docs/decisions/0004).
    """
    return [
        _cosine(vectors[max(0, k - WINDOW) : k].mean(axis=0), vectors[k : k + WINDOW].mean(axis=0))
        for k in range(1, len(vectors))
    ]


def standardised(similarities: Sequence[Sequence[float]]) -> list[list[float]]:
    """Rescale to mean 0 and deviation 1 over all sections of a document; all equal gives zeros."""
    values = np.array([value for section in similarities for value in section])
    mean, deviation = (float(values.mean()), float(values.std())) if len(values) else (0.0, 0.0)
    scale = 1 / deviation if deviation > _EQUAL else 0.0
    return [[(value - mean) * scale for value in section] for section in similarities]


def best_cuts(
    pieces: Sequence[int],
    boundary_costs: Sequence[float],
    *,
    room: Callable[[int], int],
) -> list[int]:
    """Find where the chunks begin, 0 first, so that the summed cost is least (dynamic programming).

    `pieces[i]` is the length of sentence i, `boundary_costs[i]` the price of cutting before sentence i + 1, and
    `room(i)` the pieces that fit in a chunk beginning with sentence i; one sentence always fits. A chunk costs
    .35 ((L - 168) / 168)², and (60 - L) / 60 more when L < 60.
    """
    count = len(pieces)
    least = [0.0] + [float("inf")] * count
    begins_at = [0] * (count + 1)
    for start in range(count):
        length, capacity = 0, room(start)
        entry = least[start] + (boundary_costs[start - 1] if start else 0.0)
        for end in range(start + 1, count + 1):
            length += pieces[end - 1]
            if length > capacity and end > start + 1:
                break
            cost = entry + length_cost(length)
            if cost < least[end]:
                least[end], begins_at[end] = cost, start
    return _unwind(begins_at)


def similarity_cost(z: float) -> float:
    """Price a cut by how alike the text is on both sides of it, in standard deviations."""
    return _SIMILARITY_WEIGHT * z


def length_cost(length: int) -> float:
    """Price a chunk by its length in word pieces."""
    shortage = max(0, FEW_PIECES - length) / FEW_PIECES
    return _LENGTH_WEIGHT * ((length - TARGET_PIECES) / TARGET_PIECES) ** 2 + shortage


def _unwind(begins_at: list[int]) -> list[int]:
    cuts = []
    end = len(begins_at) - 1
    while end > 0:
        end = begins_at[end]
        cuts.append(end)
    return cuts[::-1]


def _cosine(left: Matrix, right: Matrix) -> float:
    norm = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / norm if norm else 0.0
