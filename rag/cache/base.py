"""What a cache is, and the one that holds nothing."""

from typing import Protocol

from rag.errors import Unavailable


class CacheUnavailable(Unavailable):
    """The cache did not answer in time; the caller goes on without it."""

    code = "cache_unavailable"


class Cache(Protocol):
    """Bytes under a key, for a while; every method raises `CacheUnavailable` at once when it cannot be had."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def set(self, key: str, value: bytes, *, ttl_s: int) -> None:
        """Keep a value for `ttl_s` seconds; one that is too large is not kept."""
        ...

    async def ping(self) -> None:
        """Raise `CacheUnavailable` unless the cache answers."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class NullCache:
    """No cache: every lookup says at once that there is none."""

    async def get(self, key: str) -> bytes | None:
        """Raise `CacheUnavailable`."""
        raise CacheUnavailable(f"there is no cache to look {key[:8]}… up in")

    async def set(self, key: str, value: bytes, *, ttl_s: int) -> None:
        """Keep nothing."""

    async def ping(self) -> None:
        """Raise `CacheUnavailable`."""
        raise CacheUnavailable("no cache is configured (REDIS_URL)")

    async def close(self) -> None:
        """Nothing to let go of."""
