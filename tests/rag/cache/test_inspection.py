import pytest
from redis.asyncio import Redis

from rag.cache.base import CacheUnavailable
from rag.cache.inspection import keys_in, values_in


async def test_every_key_and_what_stands_under_it(settings):
    url = settings.secret("redis_url")
    async with Redis.from_url(url) as redis:
        before = await keys_in(url)
        await redis.set("inspected:text", b"\x00plain")
        await redis.hset("inspected:hash", mapping={"field": "value"})
        await redis.rpush("inspected:list", "one", "two")
        await redis.zadd("inspected:zset", {"member": 1})
        await redis.sadd("inspected:set", "element")
        await redis.xadd("inspected:stream", {"name": "entry"})
        new = await keys_in(url) - before
        values = await values_in(url, new | {b"inspected:gone"})
        await redis.delete(*new)
    assert values.keys() == new == {f"inspected:{kind}".encode() for kind in "text hash list zset set stream".split()}
    assert values[b"inspected:text"] == b"\x00plain"
    assert values[b"inspected:hash"] == b"field\nvalue"
    assert values[b"inspected:list"] == b"one\ntwo"
    assert (values[b"inspected:zset"], values[b"inspected:set"]) == (b"member", b"element")
    assert b"entry" in values[b"inspected:stream"]


async def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(CacheUnavailable):
        await keys_in(f"unix://{tmp_path}/none.sock")
    with pytest.raises(CacheUnavailable):
        await values_in(f"unix://{tmp_path}/none.sock", {b"key"})
