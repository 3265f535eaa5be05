from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.embedding.base import Matrix
from rag.embedding.batching import RUN_TOKENS, SPECIALS, Batcher, plan_batches
from rag.errors import TooLarge

BUDGET = 64
LENGTHS = st.lists(st.integers(0, 100), max_size=60)


@given(LENGTHS)
def test_every_text_is_in_one_batch(lengths: list[int]):
    batches = plan_batches(lengths, BUDGET)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS)
def test_a_batch_keeps_to_its_budget_unless_it_is_one_text(lengths: list[int]):
    for batch in plan_batches(lengths, BUDGET):
        padded = (max(lengths[index] for index in batch) + SPECIALS) * len(batch)
        assert len(batch) == 1 or padded <= BUDGET


@given(LENGTHS)
def test_no_text_joins_where_padding_costs_more_than_a_run(lengths: list[int]):
    for batch in plan_batches(lengths, BUDGET):
        steps = pairwise(lengths[index] for index in batch)
        assert all((longer - shorter) * size <= RUN_TOKENS for size, (shorter, longer) in enumerate(steps, 1))


def test_texts_of_like_length_run_together_and_a_long_one_alone():
    assert plan_batches([9, 90, 8, 10], BUDGET) == [[2, 0, 3], [1]]


class Toy:
    """Encodes a text as (its words, 1), and records what it ran."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Matrix:
        self.ran.append(list(texts))
        return np.array([[len(text.split()), 1] for text in texts], dtype=np.float32)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
async def batcher(toy: Toy) -> AsyncIterator[Batcher]:
    batcher = Batcher(toy.encode, toy.count, dimensions=2, max_pieces=20, batch_tokens=BUDGET)
    yield batcher
    await batcher.close()


def words(count: int) -> str:
    return "word " * count


async def test_vectors_come_back_in_the_order_of_the_texts(batcher: Batcher):
    counts = [20, 1, 13, 2, 19, 3, 1]

    vectors = await batcher.embed([words(count) for count in counts])

    assert vectors[:, 0].tolist() == counts
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, batcher.embed_sync([words(count) for count in counts]))


async def test_no_texts_give_no_rows(batcher: Batcher):
    assert (await batcher.embed([])).shape == (0, 2)
    assert batcher.embed_sync([]).shape == (0, 2)


async def test_a_text_that_would_be_truncated_is_named_before_anything_runs(batcher: Batcher, toy: Toy):
    texts = [words(20), words(21), words(3)]

    with pytest.raises(TooLarge, match="text 1 has 21 word pieces, the encoder reads 20"):
        await batcher.embed(texts)
    with pytest.raises(TooLarge, match="text 1"):
        batcher.embed_sync(texts)
    assert toy.ran == []


async def test_a_query_over_the_window_is_not_refused(batcher: Batcher):
    assert (await batcher.embed_query(words(30))).shape == (2,)
