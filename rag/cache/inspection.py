"""A whole Valkey read out, for a check of isolation: every key, and what stands under it."""

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rag.cache.base import CacheUnavailable

_PAGE: Final = 1_000
_READ: Final[dict[bytes, Callable[[Any, bytes], Awaitable[Any]]]] = {
    b"string": lambda redis, key: redis.get(key),
    b"hash": lambda redis, key: redis.hgetall(key),
    b"list": lambda redis, key: redis.lrange(key, 0, -1),
    b"set": lambda redis, key: redis.smembers(key),
    b"zset": lambda redis, key: redis.zrange(key, 0, -1),
    b"stream": lambda redis, key: redis.xrange(key),
}


async def keys_in(url: str) -> frozenset[bytes]:
    """The names of all keys; raises `CacheUnavailable`."""
    try:
        async with Redis.from_url(url) as redis:
            return frozenset([key async for key in redis.scan_iter(count=_PAGE)])
    except (RedisError, OSError) as error:
        raise CacheUnavailable("the cache does not answer") from error


async def values_in(url: str, keys: AbstractSet[bytes]) -> dict[bytes, bytes]:
    """What stands under these keys, as bytes to look for words in; one that has gone is left out."""
    found: dict[bytes, bytes] = {}
    try:
        async with Redis.from_url(url) as redis:
            for key in keys:
                kind: Any = await redis.type(key)
                read = _READ.get(kind)
                value = await read(redis, key) if read else None
                if value is not None:
                    found[key] = b"\n".join(_leaves(value))
    except (RedisError, OSError) as error:
        raise CacheUnavailable("the cache does not answer") from error
    return found


def _leaves(value: Any) -> list[bytes]:
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list | tuple | set):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value if isinstance(value, bytes) else str(value).encode()]
