"""What a cache is, and the one that holds nothing."""

from typing import NamedTuple, Protocol

from rag.errors import Unavailable


class CacheUnavailable(Unavailable):
    """The cache did not answer in time; the caller goes on without it."""

    code = "cache_unavailable"


class Fence(NamedTuple):
    """Whose a value is, and the owner's generation before it was computed."""

    owner: str
    generation: bytes


class Cache(Protocol):
    """Bytes under a key, for a while; every method raises `CacheUnavailable` at once when it cannot be had."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def fence(self, owner: str) -> Fence:
        """Take this before computing a value: once the owner was forgotten, `set` keeps it no more."""
        ...

    async def set(self, key: str, value: bytes, *, ttl_s: int, fence: Fence | None = None) -> None:
        """Keep a value for `ttl_s` seconds; one that is too large, or behind its fence, is not kept."""
        ...

    async def forget(self, owner: str) -> int:
        """Remove every value whose key names the owner, and those still being computed; gives back how many."""
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

    async def fence(self, owner: str) -> Fence:
        """A fence around nothing."""
        return Fence(owner, b"")

    async def set(self, key: str, value: bytes, *, ttl_s: int, fence: Fence | None = None) -> None:
        """Keep nothing."""

    async def forget(self, owner: str) -> int:  # noqa: ARG002
        """Nothing was kept."""
        return 0

    async def ping(self) -> None:
        """Raise `CacheUnavailable`."""
        raise CacheUnavailable("no cache is configured (REDIS_URL)")

    async def close(self) -> None:
        """Nothing to let go of."""
