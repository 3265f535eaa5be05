import asyncio

import pytest

from rag.cache.buckets import LocalBuckets
from rag.errors import DatabaseUnavailable, TooManyFailures, Unauthenticated
from rag.limits.lanes import Lanes
from rag.limits.strangers import Strangers


@pytest.fixture
def strangers():
    buckets = LocalBuckets(clock=lambda: 0.0)  # nothing comes back while the test runs
    return Strangers(buckets, Lanes(), invalid_keys=3, at_a_time=2)


async def try_a_key(strangers, address="192.0.2.1", *, outcome=None):
    async with strangers.attempt(address):
        await asyncio.sleep(0)
        if outcome:
            raise outcome("x")


async def fail(strangers, address="192.0.2.1"):
    with pytest.raises(Unauthenticated):
        await try_a_key(strangers, address, outcome=Unauthenticated)


async def test_so_many_invalid_keys_and_no_more(strangers):
    for _ in range(3):
        await fail(strangers)
    with pytest.raises(TooManyFailures) as refusal:
        await try_a_key(strangers, outcome=Unauthenticated)
    assert refusal.value.retry_after == pytest.approx(20)


async def test_another_address_is_not_meant(strangers):
    for _ in range(3):
        await fail(strangers)
    await try_a_key(strangers, "192.0.2.2")


async def test_valid_keys_do_not_count(strangers):
    for _ in range(10):
        await try_a_key(strangers)


async def test_what_says_nothing_of_the_key_does_not_count(strangers):
    for _ in range(10):
        with pytest.raises(DatabaseUnavailable):
            await try_a_key(strangers, outcome=DatabaseUnavailable)


async def test_many_at_once_do_not_slip_through(strangers):
    looked_up = []

    async def guess():
        async with strangers.attempt("192.0.2.1"):
            looked_up.append(1)
            await asyncio.sleep(0.001)
            raise Unauthenticated("x")

    found = await asyncio.gather(*(guess() for _ in range(20)), return_exceptions=True)
    assert len(looked_up) == 3
    assert sorted({type(error).__name__ for error in found}) == ["TooManyFailures", "Unauthenticated"]


async def test_few_are_looked_up_at_a_time(strangers):
    under_way, most = 0, 0

    async def visit(number):
        nonlocal under_way, most
        async with strangers.attempt(f"192.0.2.{number}"):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(visit(number) for number in range(20)))
    assert most == 2


async def test_no_limit_counts_nobody():
    strangers = Strangers(LocalBuckets(), Lanes(), invalid_keys=0, at_a_time=2)
    for _ in range(20):
        await fail(strangers)
