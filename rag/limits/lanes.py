"""How many requests of one tenant this process works on at a time, so that none fills the pool or the encoder."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final

from rag.errors import TooManyAtOnce
from rag.telemetry import LIMITED

_WAIT_S: Final = 5.0
_WAITING: Final = 64  # for each place in a lane


class _Lane:
    __slots__ = ("held", "waiting", "width")

    def __init__(self) -> None:
        self.held = 0
        self.width = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class Lanes:
    """A lane of some width for each tenant; its requests wait for a place in turn, and not for long."""

    def __init__(self, *, wait_s: float = _WAIT_S) -> None:
        self._wait_s = wait_s
        self._lanes: dict[Hashable, _Lane] = {}

    async def enter(self, name: Hashable, width: int) -> None:
        """Take a place, which `leave` gives back; raises `TooManyAtOnce` when none comes free in time."""
        lane = self._lanes.setdefault(name, _Lane())
        lane.width = width
        if lane.held < width and not lane.waiting:
            lane.held += 1
            return
        if len(lane.waiting) >= _WAITING * width:
            raise _refusal()
        await self._wait(name, lane)

    def leave(self, name: Hashable) -> None:
        """Give a place back: to whoever waits longest, if anybody does."""
        lane = self._lanes[name]
        lane.held -= 1
        while lane.waiting and lane.held < lane.width:
            turn = lane.waiting.popleft()
            if not turn.done():
                lane.held += 1  # here, so that nobody slips in before it wakes
                turn.set_result(None)
        if not lane.held:
            del self._lanes[name]

    @asynccontextmanager
    async def place(self, name: Hashable, width: int) -> AsyncIterator[None]:
        """A place for as long as the block runs; raises `TooManyAtOnce`."""
        await self.enter(name, width)
        try:
            yield
        finally:
            self.leave(name)

    async def _wait(self, name: Hashable, lane: _Lane) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except (TimeoutError, asyncio.CancelledError) as end:
            if turn.done() and not turn.cancelled():
                self.leave(name)  # its turn came as it left
            elif turn in lane.waiting:
                lane.waiting.remove(turn)
            if isinstance(end, TimeoutError):
                raise _refusal() from end
            raise


def _refusal() -> TooManyAtOnce:
    LIMITED.labels("concurrency").inc()
    return TooManyAtOnce("too many requests are under way at once", retry_after=1.0)
