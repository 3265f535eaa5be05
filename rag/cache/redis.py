"""The cache in Valkey or Redis: short timeouts, and a breaker that stops asking one that is gone."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from uuid import uuid4

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from rag.cache.base import CacheUnavailable, Fence

T = TypeVar("T")

_TIMEOUT_S: Final = 0.1
_FAILURES: Final = 3
_COOLDOWN_S: Final = 5.0
_SCANNED: Final = 500  # keys looked at in one step, so that nobody waits for a walk through all of them
_FENCE_S: Final = 3_600  # longer than any value is computed
_KEEP_BEHIND_FENCE: Final = """
if (redis.call('GET', KEYS[2]) or '') == ARGV[3] then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end"""


class RedisCache:
    """A bounded pool to one server; three failures in a row and it is left alone for five seconds."""

    def __init__(self, url: str, *, max_value_bytes: int, connections: int = 32, timeout_s: float = _TIMEOUT_S) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._max_value_bytes = max_value_bytes
        self._scripts: dict[str, AsyncScript] = {}
        self._failures = 0
        self._closed_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """The value, or None; raises `CacheUnavailable`."""
        value = await self._ask(lambda: self._redis.get(key))
        return value.encode() if isinstance(value, str) else value

    async def fence(self, owner: str) -> Fence:
        """The owner's generation as it is now; raises `CacheUnavailable`."""
        return Fence(owner, await self.get(_generation(owner)) or b"")

    async def set(self, key: str, value: bytes, *, ttl_s: int, fence: Fence | None = None) -> None:
        """Keep a value unless it is over the size bound or behind its fence; raises `CacheUnavailable`."""
        if len(value) > self._max_value_bytes:
            return
        if fence is None:
            await self._ask(lambda: self._redis.set(key, value, ex=ttl_s))
        else:
            keys = [key, _generation(fence.owner)]
            await self.evaluate(_KEEP_BEHIND_FENCE, keys, [value, ttl_s, fence.generation])

    async def forget(self, owner: str) -> int:
        """Begin a new generation, then walk over the keys in small steps; raises `CacheUnavailable`."""
        await self._ask(lambda: self._redis.set(_generation(owner), uuid4().hex, ex=_FENCE_S))
        removed, cursor = 0, 0
        while True:
            cursor, keys = await self._ask(self._scan(cursor, f"*{owner}*"))
            found = [key for key in keys if key != _generation(owner).encode()]
            if found:
                removed += await self._ask(self._unlink(found))
            if cursor == 0:
                return removed

    def _scan(self, cursor: int, pattern: str) -> Callable[[], Awaitable[Any]]:
        return lambda: self._redis.scan(cursor, match=pattern, count=_SCANNED)

    def _unlink(self, keys: list[bytes]) -> Callable[[], Awaitable[int]]:
        return lambda: self._redis.unlink(*keys)

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[bytes | int | str]) -> Any:
        """What a Lua script gives back, run as one step; raises `CacheUnavailable`."""
        loaded = self._scripts.get(script)
        if loaded is None:
            loaded = self._scripts[script] = self._redis.register_script(script)
        return await self._ask(lambda: loaded(keys=list(keys), args=list(arguments)))

    async def ping(self) -> None:
        """Raise `CacheUnavailable` unless the server answers."""
        await self._ask(self._redis.ping)

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        if time.monotonic() < self._closed_until:
            raise CacheUnavailable("the cache did not answer lately")
        try:
            answer = await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._failures += 1
            if self._failures >= _FAILURES:
                self._closed_until = time.monotonic() + _COOLDOWN_S
                self._failures = 0
            raise CacheUnavailable("the cache does not answer") from error
        self._failures = 0
        return answer


def _generation(owner: str) -> str:
    return f"generation:{owner}"
