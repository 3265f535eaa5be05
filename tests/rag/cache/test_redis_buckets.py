import asyncio
from enum import IntEnum
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from rag.cache.base import CacheUnavailable
from rag.cache.buckets import Draw, LocalBuckets
from rag.cache.redis import RedisCache
from rag.cache.redis_buckets import RedisBuckets


@pytest.fixture
async def cache(servers):
    opened = RedisCache(servers.redis_url, max_value_bytes=100, timeout_s=30)
    yield opened
    await opened.close()


@pytest.fixture
def buckets(cache):
    return RedisBuckets(cache)


@pytest.fixture
async def server(servers):
    client = Redis.from_url(servers.redis_url)
    yield client
    await client.aclose()


def slow(**more):
    """A bucket that gets nothing back while the test runs."""
    return Draw(**{"bucket": f"limit:{uuid4()}", "quota": 10, "window_s": 86_400, **more})


async def test_the_quota_can_be_taken_at_once_and_no_more(buckets):
    draw = slow(cost=4)
    for left in (6, 2):
        (level,) = await buckets.take([draw])
        assert (level.allowed, level.remaining) == (True, left)
    (level,) = await buckets.take([draw])
    assert (level.allowed, level.remaining) == (False, 2)
    assert level.retry_after_s == pytest.approx(2 * 8640, abs=60)
    assert level.full_in_s == pytest.approx(8 * 8640, abs=60)


async def test_one_refusal_spends_in_none(buckets, server):
    wide, narrow = slow(quota=100, cost=7), slow(cost=7)
    assert all(level.allowed for level in await buckets.take([wide, narrow]))
    levels = await buckets.take([wide, narrow])
    assert [level.allowed for level in levels] == [True, False]
    assert levels[0].remaining == 93
    assert (await buckets.take([wide]))[0].remaining == 86


async def test_many_at_once_from_several_processes_get_what_there_is(servers, buckets):
    """Each pool is a process's own; nothing but the server is shared. None is in a hurry here."""
    draws = [slow(quota=37), slow(quota=1000)]
    pools = [RedisCache(servers.redis_url, max_value_bytes=100, connections=4, timeout_s=30) for _ in range(4)]
    answers = await asyncio.gather(*(RedisBuckets(pool).take(draws) for pool in pools for _ in range(10)))
    assert sum(all(level.allowed for level in levels) for levels in answers) == 37
    assert (await buckets.take([a_look_at(draws[1])]))[0].remaining == 1000 - 37
    for pool in pools:
        await pool.close()


def a_look_at(draw):
    return Draw(bucket=draw.bucket, quota=draw.quota, window_s=draw.window_s, look=True)


async def test_a_look_and_what_is_given_back(buckets, server):
    draw = slow(cost=3)
    await buckets.take([a_look_at(draw)])
    assert not await server.exists(draw.bucket)
    await buckets.take([draw])
    (level,) = await buckets.take([Draw(bucket=draw.bucket, quota=10, window_s=86_400, cost=-1)])
    assert level.remaining == 8


async def test_nothing_is_kept_of_a_full_bucket(buckets, server):
    draw = Draw(bucket=f"limit:{uuid4()}", quota=10, window_s=60, cost=5)
    await buckets.take([draw])
    assert 29_000 < await server.pttl(draw.bucket) <= 30_002


class Cost(IntEnum):
    """A cost as routes name it."""

    READ = 1


async def test_a_cost_may_be_named(buckets):
    assert (await buckets.take([slow(cost=Cost.READ)]))[0].remaining == 9


async def test_it_takes_one_command(buckets, server):
    await buckets.take([slow()])  # the script is there now
    await server.config_resetstat()
    await buckets.take([slow(), slow(), slow(look=True)])
    sent = await server.info("commandstats")
    assert sent["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in sent


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 12), st.booleans()), max_size=15))
async def test_it_counts_as_the_one_in_memory_does(buckets, script):
    names = [f"limit:{uuid4()}" for _ in range(2)]
    local = LocalBuckets(clock=lambda: 0.0)
    for which, cost, look in script:
        draws = [Draw(bucket=names[which], quota=10, window_s=86_400, cost=cost, look=look)]
        draws.append(Draw(bucket=names[1 - which], quota=7, window_s=86_400, cost=1))
        ours, theirs = await buckets.take(draws), await local.take(draws)
        assert [(level.allowed, level.remaining) for level in ours] == [
            (level.allowed, level.remaining) for level in theirs
        ]


async def test_a_server_that_is_gone_says_so(tmp_path):
    gone = RedisCache(f"unix://{tmp_path}/gone.sock", max_value_bytes=100)
    with pytest.raises(CacheUnavailable):
        await RedisBuckets(gone).take([slow()])
    await gone.close()
