import asyncio

import pytest

from rag.errors import TooManyAtOnce
from rag.limits import lanes as module
from rag.limits.lanes import Lanes


@pytest.fixture
def lanes():
    return Lanes(wait_s=30)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lane_holds_its_width_and_the_next_waits_in_turn(lanes):
    entered = []

    async def pass_through(name):
        async with lanes.place("a", 2):
            entered.append(name)
            await gates[name].wait()

    gates = {name: asyncio.Event() for name in range(4)}
    tasks = [asyncio.create_task(pass_through(name)) for name in gates]
    await settle()
    assert entered == [0, 1]
    gates[1].set()
    await settle()
    assert entered == [0, 1, 2]
    for gate in gates.values():
        gate.set()
    await asyncio.gather(*tasks)
    assert entered == [0, 1, 2, 3]
    assert lanes._lanes == {}


async def test_one_lane_does_not_wait_for_another(lanes):
    await lanes.enter("a", 1)
    await lanes.enter("b", 1)
    lanes.leave("a")
    lanes.leave("b")


async def test_who_waits_too_long_is_refused_and_told_when_to_come_back():
    lanes = Lanes(wait_s=0.01)
    await lanes.enter("a", 1)
    with pytest.raises(TooManyAtOnce) as refusal:
        await lanes.enter("a", 1)
    assert refusal.value.retry_after > 0
    lanes.leave("a")
    assert lanes._lanes == {}


async def test_more_than_may_wait_are_refused_at_once(lanes, monkeypatch):
    monkeypatch.setattr(module, "_WAITING", 2)
    await lanes.enter("a", 1)
    waiting = [asyncio.create_task(lanes.enter("a", 1)) for _ in range(2)]
    await settle()
    with pytest.raises(TooManyAtOnce):
        await lanes.enter("a", 1)
    for task in waiting:
        lanes.leave("a")
        await task
    lanes.leave("a")


async def test_who_goes_away_while_waiting_takes_no_place(lanes):
    await lanes.enter("a", 1)
    first, second = (asyncio.create_task(lanes.enter("a", 1)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    lanes.leave("a")
    await second
    lanes.leave("a")
    assert lanes._lanes == {}


async def test_who_goes_away_as_its_turn_comes_gives_it_on(lanes):
    await lanes.enter("a", 1)
    first, second = (asyncio.create_task(lanes.enter("a", 1)) for _ in range(2))
    await settle()
    lanes.leave("a")  # the turn is first's, which has not woken yet
    first.cancel()
    await second
    lanes.leave("a")
    assert lanes._lanes == {}
    assert first.cancelled()


async def test_a_lane_that_was_narrowed_lets_in_no_more_than_it_holds(lanes):
    for _ in range(3):
        await lanes.enter("a", 3)
    waiting = asyncio.create_task(lanes.enter("a", 1))
    await settle()
    for _ in range(2):
        lanes.leave("a")
        await settle()
        assert not waiting.done()
    lanes.leave("a")
    await waiting
    lanes.leave("a")


async def test_a_failure_inside_gives_the_place_back(lanes):
    with pytest.raises(ValueError, match="x"):
        async with lanes.place("a", 1):
            raise ValueError("x")
    assert lanes._lanes == {}
