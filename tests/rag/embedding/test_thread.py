"""The queue, driven by a toy encoder that records its groups and stops where the test says."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from rag.embedding.base import Vector
from rag.embedding.thread import GROUP, GROUPS_PER_STEP, EncoderThread, Steps
from rag.errors import EncoderUnavailable

SOON = 10


class Toy:
    """Encodes a text as its length; holds a group that contains "hold" until released."""

    def __init__(self) -> None:
        self.log: list[str | list[str]] = []
        self.holding = threading.Event()
        self.release = threading.Event()

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[int, Vector]]:
        self.log.append(list(texts))
        if "hold" in texts:
            self.hold()
        for index, text in enumerate(texts):
            if text == "bad":
                raise ValueError("bad text")
            yield index, np.array([len(text)], dtype=np.float32)

    def steps(self, name: str, count: int) -> Steps[str]:
        for step in range(count):
            self.log.append(f"{name}{step}")
            if name == "held":
                self.hold()
            yield
        return name

    def hold(self) -> None:
        self.holding.set()
        assert self.release.wait(SOON)


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def thread(toy: Toy) -> Iterator[EncoderThread]:
    thread = EncoderThread(toy.encode, max_queries=40, max_jobs=3)
    yield thread
    toy.release.set()
    thread.close()


@pytest.fixture
def busy(toy: Toy, thread: EncoderThread) -> EncoderThread:
    thread.query("hold")
    assert toy.holding.wait(SOON)
    return thread


def test_queries_that_wait_are_answered_in_groups_and_in_order(toy: Toy, busy: EncoderThread):
    futures = [busy.query("x" * length) for length in range(40)]
    toy.release.set()

    assert [future.result(SOON)[0] for future in futures] == list(range(40))
    assert [len(group) for group in toy.log] == [1, GROUP, GROUP, 8]


def test_a_full_queue_refuses_and_says_when_to_come_back(busy: EncoderThread):
    for _ in range(40):
        busy.query("x")

    with pytest.raises(EncoderUnavailable) as refusal:
        busy.query("x")
    assert refusal.value.retry_after >= 1
    assert busy.waiting == 40


def test_cancelled_queries_make_room_in_a_full_queue(toy: Toy, busy: EncoderThread):
    cancelled = [busy.query("gone") for _ in range(39)]
    kept = busy.query("kept")
    assert all(future.cancel() for future in cancelled)

    late = busy.query("late")
    toy.release.set()

    assert kept.result(SOON)[0] == late.result(SOON)[0] == 4
    assert toy.log == [["hold"], ["kept", "late"]]


def test_a_cancelled_query_is_left_out_of_its_group(toy: Toy, busy: EncoderThread):
    first, cancelled, last = busy.query("first"), busy.query("cancelled"), busy.query("last")
    assert cancelled.cancel()
    toy.release.set()

    assert first.result(SOON)[0] == 5
    assert last.result(SOON)[0] == 4
    assert toy.log == [["hold"], ["first", "last"]]


def test_a_query_cancelled_while_its_group_runs_leaves_the_others_fine(toy: Toy, thread: EncoderThread):
    cancelled = thread.query("hold")
    assert toy.holding.wait(SOON)
    assert cancelled.cancel()
    toy.release.set()

    assert thread.query("next").result(SOON)[0] == 4


def test_a_query_waits_for_one_step_of_bulk_work_not_for_all(toy: Toy, thread: EncoderThread):
    job = thread.job(toy.steps("held", 3))
    assert toy.holding.wait(SOON)
    query = thread.query("query")
    toy.release.set()

    assert query.result(SOON)[0] == 5
    assert job.result(SOON) == "held"
    assert toy.log == ["held0", ["query"], "held1", "held2"]


def test_queries_do_not_starve_bulk_work(toy: Toy, thread: EncoderThread):
    def again(_: object) -> None:
        # A next query arrives before each group is done: the queue is never empty.
        if not job.done():
            thread.query("x").add_done_callback(again)

    thread.query("hold").add_done_callback(again)
    assert toy.holding.wait(SOON)
    job = thread.job(toy.steps("step", 2))
    thread.query("x").add_done_callback(again)
    toy.release.set()

    assert job.result(SOON) == "step"
    assert toy.log.index("step0") <= GROUPS_PER_STEP
    assert toy.log.index("step1") - toy.log.index("step0") == GROUPS_PER_STEP + 1


def test_jobs_take_turns(toy: Toy, busy: EncoderThread):
    jobs = [busy.job(toy.steps("a", 2)), busy.job(toy.steps("b", 2))]
    toy.release.set()

    assert [job.result(SOON) for job in jobs] == ["a", "b"]
    assert toy.log[1:] == ["a0", "b0", "a1", "b1"]


def test_a_cancelled_job_stops_between_two_steps(toy: Toy, thread: EncoderThread):
    job = thread.job(toy.steps("held", 3))
    assert toy.holding.wait(SOON)
    assert job.cancel()
    toy.release.set()

    assert thread.query("next").result(SOON)[0] == 4
    thread.ping().result(SOON)
    assert [entry for entry in toy.log if isinstance(entry, str)] == ["held0"]


def test_too_much_bulk_work_is_refused(toy: Toy, busy: EncoderThread):
    for _ in range(3):
        busy.job(toy.steps("a", 1))

    with pytest.raises(EncoderUnavailable):
        busy.job(toy.steps("a", 1))


def test_an_error_reaches_who_waits_for_it_and_the_thread_lives_on(toy: Toy, busy: EncoderThread):
    before, bad, after = busy.query("before"), busy.query("bad"), busy.query("after")
    toy.release.set()

    assert before.result(SOON)[0] == 6
    for future in (bad, after):
        with pytest.raises(ValueError, match="bad text"):
            future.result(SOON)
    assert thread_answers(busy)


def test_an_error_in_a_job_ends_that_job_alone(toy: Toy, thread: EncoderThread):
    def broken() -> Steps[None]:
        yield
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        thread.job(broken()).result(SOON)
    assert thread.job(toy.steps("a", 1)).result(SOON) == "a"


def test_close_lets_the_running_group_finish_and_fails_the_rest(toy: Toy, thread: EncoderThread):
    running = thread.query("hold")
    assert toy.holding.wait(SOON)
    waiting = [thread.query("x"), thread.job(toy.steps("a", 1)), thread.ping()]
    closing = threading.Thread(target=thread.close)
    closing.start()
    for future in waiting:
        with pytest.raises(EncoderUnavailable):
            future.result(SOON)
    toy.release.set()
    closing.join(SOON)

    assert running.result(SOON)[0] == 4
    assert not closing.is_alive()
    assert toy.log == [["hold"]]


def test_close_ends_a_job_at_its_next_step(toy: Toy, thread: EncoderThread):
    job = thread.job(toy.steps("held", 3))
    assert toy.holding.wait(SOON)
    closing = threading.Thread(target=thread.close)
    closing.start()
    while not thread.closed:
        time.sleep(0.001)
    toy.release.set()
    closing.join(SOON)

    with pytest.raises(EncoderUnavailable):
        job.result(SOON)
    assert toy.log == ["held0"]


def test_after_close_everything_is_refused(toy: Toy, thread: EncoderThread):
    thread.close()
    thread.close()

    for ask in (lambda: thread.query("x"), lambda: thread.job(toy.steps("a", 1)), thread.ping):
        with pytest.raises(EncoderUnavailable, match="stopped"):
            ask()


def test_ping_is_answered_even_when_the_queues_are_full(toy: Toy, busy: EncoderThread):
    jobs = [busy.job(toy.steps("a", 1)) for _ in range(3)]
    queries = [busy.query("x") for _ in range(40)]
    ping = busy.ping()
    assert not ping.done()
    toy.release.set()

    assert ping.result(SOON) is None
    assert all(future.result(SOON) is not None for future in [*jobs, *queries])


def thread_answers(thread: EncoderThread) -> bool:
    return thread.query("alive").result(SOON)[0] == 5
