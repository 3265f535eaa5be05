"""Buckets of units that fill evenly: what rate limits are kept in, in memory or in Valkey.

Both count by the generic cell rate algorithm (ITU-T I.371): a bucket is one number, the moment at which it is full
again, so it needs no timer, and nothing is kept of a full one.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from rag.cache.base import CacheUnavailable
from rag.telemetry import LIMIT_CHECKS, log

_KEPT: Final = 100_000
_SILENCE_S: Final = 60.0  # between two lines that say the same


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """Units to take from a bucket that holds `quota` and fills up in `window_s`.

    A cost over the quota takes all of it, a negative one gives back. With `look` nothing is taken: it is allowed when
    it could be.
    """

    bucket: str
    quota: int
    cost: int = 1
    window_s: int = 60
    look: bool = False

    @property
    def units(self) -> int:
        """What is taken, which is never more than the bucket can hold."""
        return min(self.cost, self.quota)


class Level(NamedTuple):
    """A bucket after a draw: whole units left, seconds until the draw can be tried again and until it is full."""

    allowed: bool
    remaining: int
    retry_after_s: float
    full_in_s: float


class Buckets(Protocol):
    """Takes from several buckets in one step: from all of them, or from none when one has too little."""

    async def take(self, draws: Sequence[Draw]) -> list[Level]:
        """The level of each bucket, in order."""
        ...


class LocalBuckets:
    """Buckets of this process; the least recently used are forgotten beyond a bound."""

    def __init__(self, *, kept: int = _KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._kept = kept
        self._clock = clock

    async def take(self, draws: Sequence[Draw]) -> list[Level]:
        """The level of each bucket, in order."""
        now = self._clock()
        before = [max(self._full_at.get(draw.bucket, now), now) for draw in draws]
        waits = [_after(draw, full_at) - now - draw.window_s for draw, full_at in zip(draws, before, strict=True)]
        refused = any(wait > _ROUNDING_S for wait in waits)
        return [
            self._settle(draw, full_at, wait, now, refused=refused)
            for draw, full_at, wait in zip(draws, before, waits, strict=True)
        ]

    def _settle(self, draw: Draw, full_at: float, wait: float, now: float, *, refused: bool) -> Level:
        if not refused and not draw.look:
            full_at = max(_after(draw, full_at), now)
            self._full_at[draw.bucket] = full_at
            self._full_at.move_to_end(draw.bucket)
            if len(self._full_at) > self._kept:
                self._full_at.popitem(last=False)
        left = (draw.window_s - (full_at - now)) * draw.quota / draw.window_s
        return Level(wait <= _ROUNDING_S, max(0, math.floor(left + _ROUNDING_S)), max(0.0, wait), full_at - now)


class FallingBack:
    """Shared buckets while they answer, and this process's own while they do not."""

    def __init__(self, shared: Buckets, local: Buckets) -> None:
        self._shared = shared
        self._local = local
        self._silent_until = 0.0

    async def take(self, draws: Sequence[Draw]) -> list[Level]:
        """The level of each bucket, in order."""
        try:
            levels = await self._shared.take(draws)
        except CacheUnavailable as error:
            self._say(error)
            LIMIT_CHECKS.labels("local").inc()
            return await self._local.take(draws)
        LIMIT_CHECKS.labels("shared").inc()
        return levels

    def _say(self, error: CacheUnavailable) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE_S
            log.warning("limits_kept_locally", reason=repr(error.__cause__ or error)[:200])


_ROUNDING_S: Final = 1e-6


def _after(draw: Draw, full_at: float) -> float:
    return full_at + draw.units * draw.window_s / draw.quota
