import pytest

from rag.cache.base import CacheUnavailable, NullCache
from rag.errors import Unavailable


async def test_no_cache_says_so_at_once_and_keeps_nothing():
    cache = NullCache()
    await cache.set("k", b"v", ttl_s=60, fence=await cache.fence("owner"))
    assert await cache.forget("owner") == 0
    with pytest.raises(CacheUnavailable):
        await cache.get("k")
    with pytest.raises(CacheUnavailable, match="REDIS_URL"):
        await cache.ping()
    await cache.close()


async def test_a_query_is_not_repeated_in_the_error():
    with pytest.raises(CacheUnavailable) as refusal:
        await NullCache().get("search:tenant:digest")
    assert "digest" not in refusal.value.message


def test_it_is_something_that_passes():
    assert issubclass(CacheUnavailable, Unavailable)
    assert CacheUnavailable("x").transient
