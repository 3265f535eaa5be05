"""Whether a difference between two runs is more than chance: both tests pair the runs query by query."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

_TRIALS: Final = 10_000
_ENUMERATED: Final = 13  # so few queries have at most 8,192 sign patterns: all are looked at
_BLOCK: Final = 1_000
_SEED: Final = 0  # equal runs give equal reports

Floats = NDArray[np.float64]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of paired differences with its 95 % interval and the probability of one as large by chance."""

    mean: float
    low: float
    high: float
    p_value: float
    queries: int


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """How much better `ours` is than `theirs`, whose values belong to the same queries in the same order."""
    if len(ours) != len(theirs) or len(ours) == 0:
        raise ValueError("as many values on both sides, at least one")
    deltas = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    low, high = bootstrap_interval(deltas)
    return Difference(
        mean=round(float(deltas.mean()), 6),
        low=round(low, 6),
        high=round(high, 6),
        p_value=permutation_test(deltas),
        queries=len(deltas),
    )


def permutation_test(deltas: Floats, *, trials: int = _TRIALS, seed: int = _SEED) -> float:
    """The two-sided p-value of a mean difference, by flipping signs (Smucker, Allan & Carterette, CIKM 2007).

    Exact up to 13 queries. Above, the share of random sign patterns whose mean is at least as far from 0, with the
    pattern observed counted among them, so that no p-value is 0 (Phipson & Smyth, 2010).
    """
    observed = abs(float(deltas.sum()))
    reaches = observed - 1e-9 * max(1.0, observed)  # sums in another order differ in the last bits
    if len(deltas) <= _ENUMERATED:
        return float(np.mean(np.abs(_all_signs(len(deltas)) @ deltas) >= reaches))
    generator = np.random.default_rng(seed)
    as_far = 0
    for start in range(0, trials, _BLOCK):
        signs = generator.choice(np.array([-1.0, 1.0]), size=(min(_BLOCK, trials - start), len(deltas)))
        as_far += int(np.count_nonzero(np.abs(signs @ deltas) >= reaches))
    return (as_far + 1) / (trials + 1)


def bootstrap_interval(
    deltas: Floats, *, level: float = 0.95, trials: int = _TRIALS, seed: int = _SEED
) -> tuple[float, float]:
    """The percentile interval of the mean over queries drawn again with replacement (Sakai, SIGIR 2006)."""
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            deltas[generator.integers(0, len(deltas), size=(min(_BLOCK, trials - start), len(deltas)))].mean(axis=1)
            for start in range(0, trials, _BLOCK)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _all_signs(count: int) -> Floats:
    bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    return np.where(bits, 1.0, -1.0)
