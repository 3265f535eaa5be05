import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rag.cache.base import CacheUnavailable
from rag.cache.buckets import Draw, FallingBack, LocalBuckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gone:
    """Shared buckets whose server went away, and may come back."""

    def __init__(self) -> None:
        self.back = LocalBuckets()
        self.here = False

    async def take(self, draws):
        if not self.here:
            raise CacheUnavailable("away")
        return await self.back.take(draws)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def buckets(clock):
    return LocalBuckets(clock=clock)


def ten(**more):
    return Draw(**{"bucket": "b", "quota": 10, "window_s": 60, **more})


async def test_the_quota_can_be_taken_at_once_and_no_more(buckets):
    for left in (6, 2):
        (level,) = await buckets.take([ten(cost=4)])
        assert (level.allowed, level.remaining) == (True, left)
    (level,) = await buckets.take([ten(cost=4)])
    assert (level.allowed, level.remaining) == (False, 2)
    assert level.retry_after_s == pytest.approx(2 * 6)  # two units are missing, one comes back in six seconds
    assert level.full_in_s == pytest.approx(8 * 6)


async def test_what_was_taken_comes_back_evenly(buckets, clock):
    await buckets.take([ten(cost=10)])
    clock.now += 6 * 3
    (level,) = await buckets.take([ten(cost=3)])
    assert (level.allowed, level.remaining) == (True, 0)
    clock.now += 10_000
    (level,) = await buckets.take([ten(cost=1)])
    assert level.remaining == 9


async def test_after_retry_after_the_same_draw_is_allowed(buckets, clock):
    await buckets.take([ten(cost=9)])
    (level,) = await buckets.take([ten(cost=4)])
    clock.now += level.retry_after_s - 0.01
    assert not (await buckets.take([ten(cost=4)]))[0].allowed
    clock.now += 0.01
    assert (await buckets.take([ten(cost=4)]))[0].allowed


async def test_one_refusal_spends_in_none(buckets):
    wide = Draw(bucket="wide", quota=100, cost=7)
    assert not (await buckets.take([ten(cost=9)]))[0].retry_after_s
    levels = await buckets.take([wide, ten(cost=7)])
    assert [level.allowed for level in levels] == [True, False]
    assert levels[0].remaining == 100
    assert (await buckets.take([wide]))[0].remaining == 93


async def test_a_cost_over_the_quota_takes_all_of_it(buckets):
    (level,) = await buckets.take([ten(cost=99)])
    assert (level.allowed, level.remaining) == (True, 0)


async def test_a_look_takes_nothing(buckets):
    for _ in range(20):
        assert (await buckets.take([ten(cost=10, look=True)]))[0].allowed
    await buckets.take([ten(cost=10)])
    assert not (await buckets.take([ten(look=True)]))[0].allowed


async def test_what_is_given_back_is_there_again_and_fills_nothing_over(buckets):
    await buckets.take([ten(cost=3)])
    (level,) = await buckets.take([ten(cost=-1)])
    assert (level.allowed, level.remaining) == (True, 8)
    (level,) = await buckets.take([ten(cost=-9)])
    assert level.remaining == 10


async def test_what_is_kept_is_bounded(clock):
    small = LocalBuckets(kept=3, clock=clock)
    for number in range(10):
        await small.take([Draw(bucket=f"{number}", quota=5)])
    assert len(small._full_at) == 3


@given(st.lists(st.tuples(st.integers(1, 12), st.floats(0, 30)), max_size=40))
async def test_no_more_is_let_through_than_the_quota_and_what_came_back(draws):
    clock = Clock()
    buckets, taken = LocalBuckets(clock=clock), 0
    for cost, pause in draws:
        clock.now += pause
        (level,) = await buckets.take([ten(cost=cost)])
        taken += min(cost, 10) if level.allowed else 0
        assert taken <= 10 + (clock.now - 1000) / 6 + 1e-6
        assert 0 <= level.remaining <= 10


async def test_own_buckets_take_over_at_once_and_give_way_again():
    shared = Gone()
    both = FallingBack(shared, LocalBuckets())
    with capture_logs() as lines:
        for left in (9, 8):
            assert (await both.take([ten()]))[0].remaining == left
        shared.here = True
        assert (await both.take([ten()]))[0].remaining == 9
    assert [(line["event"], line["reason"]) for line in lines] == [("limits_kept_locally", "CacheUnavailable('away')")]
