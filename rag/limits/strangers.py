"""Keys that were not seen to be valid: whoever tries many is slowed before the database is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rag.cache.buckets import Buckets, Draw
from rag.errors import TooManyFailures, Unauthenticated
from rag.limits.lanes import Lanes
from rag.telemetry import LIMITED

_WINDOW_S: Final = 60
_LANE: Final = "strangers"


class Strangers:
    """Counts invalid keys by the address they come from, and looks up a few keys at a time."""

    def __init__(self, buckets: Buckets, lanes: Lanes, *, invalid_keys: int, at_a_time: int) -> None:
        self._buckets = buckets
        self._lanes = lanes
        self._invalid_keys = invalid_keys
        self._at_a_time = at_a_time

    @asynccontextmanager
    async def attempt(self, address: str) -> AsyncIterator[None]:
        """A key is tried within; raises `TooManyFailures`, or `TooManyAtOnce`, before it is.

        It is counted as invalid when it begins, so that many at once do not slip through together, and given back
        unless `Unauthenticated` comes out.
        """
        await self._count(address)
        try:
            async with self._lanes.place(_LANE, self._at_a_time):
                yield
        except Unauthenticated:
            raise
        except BaseException:
            await self._forgive(address)  # it says nothing of the key
            raise
        await self._forgive(address)

    async def _count(self, address: str) -> None:
        if not self._invalid_keys:
            return
        (level,) = await self._buckets.take([self._draw(address, 1)])
        if not level.allowed:
            LIMITED.labels("invalid_keys").inc()
            raise TooManyFailures("too many invalid keys came from this address", retry_after=level.retry_after_s)

    async def _forgive(self, address: str) -> None:
        if self._invalid_keys:
            await self._buckets.take([self._draw(address, -1)])

    def _draw(self, address: str, cost: int) -> Draw:
        bucket = f"limit:{{{address}}}:invalid"
        return Draw(bucket=bucket, quota=self._invalid_keys, cost=cost, window_s=_WINDOW_S)
