"""The cache in Valkey or Redis: short timeouts, and a breaker that stops asking one that is gone."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from rag.cache.base import CacheUnavailable

T = TypeVar("T")

_TIMEOUT_S: Final = 0.1
_FAILURES: Final = 3
_COOLDOWN_S: Final = 5.0


class RedisCache:
    """A bounded pool to one server; three failures in a row and it is left alone for five seconds."""

    def __init__(self, url: str, *, max_value_bytes: int, connections: int = 32) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
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

    async def set(self, key: str, value: bytes, *, ttl_s: int) -> None:
        """Keep a value unless it is over the size bound; raises `CacheUnavailable`."""
        if len(value) <= self._max_value_bytes:
            await self._ask(lambda: self._redis.set(key, value, ex=ttl_s))

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
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
