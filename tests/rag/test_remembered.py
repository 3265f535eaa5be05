import time

from rag.remembered import Remembered


def test_a_value_is_believed_until_its_time():
    memory: Remembered[str, int] = Remembered(10)
    until = time.monotonic() + 60
    memory.keep("a", 1, until)
    memory.keep("b", 2, time.monotonic() - 1)
    assert memory.get("a") == (until, 1)
    assert memory.get("b") is None
    assert memory.get("c") is None
    memory.forget("a")
    memory.forget("c")
    assert memory.get("a") is None


def test_the_oldest_makes_room():
    memory: Remembered[int, None] = Remembered(3)
    for key in (1, 2, 3, 1, 4):
        memory.keep(key, None, time.monotonic() + 60)
    assert len(memory) == 3
    assert [key for key in range(5) if memory.get(key)] == [1, 3, 4]
