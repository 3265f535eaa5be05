"""One ranking out of two, as a pure function of their scores."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

Id = TypeVar("Id", bound=Hashable)


def convex_combination(
    dense: Mapping[Id, float], lexical: Mapping[Id, float], *, weight: float
) -> list[tuple[Id, float]]:
    """Fuse two legs' normalised scores by a convex combination (Bruch et al., TOIS 2023).

    score = weight * dense + (1 - weight) * lexical. Both are to be over their theoretical maximum, so that neither
    depends on what else was retrieved; a chunk that a leg lacks scores 0 in it. `weight` lies in [0, 1].
    Ties break by id, so equal input gives equal output; best first.
    """
    if not 0 <= weight <= 1:
        raise ValueError("weight lies in [0, 1]")
    fused = {key: weight * dense.get(key, 0.0) + (1 - weight) * lexical.get(key, 0.0) for key in {*dense, *lexical}}
    return _best_first(fused)


def _best_first(scores: Mapping[Id, float]) -> list[tuple[Id, float]]:
    def order(item: tuple[Id, float]) -> tuple[float, Any]:
        return -item[1], item[0]

    return sorted(scores.items(), key=order)
