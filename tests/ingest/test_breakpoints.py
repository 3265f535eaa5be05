import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.breakpoints import best_cuts, length_cost, similarity_cost, standardised, window_similarities


def unit_vectors(*angles: float) -> np.ndarray:
    return np.array([[math.cos(a), math.sin(a)] for a in angles], dtype=np.float32)


def test_similarity_falls_where_the_subject_changes() -> None:
    likeness = window_similarities(unit_vectors(0, 0, 0, 0, math.pi / 2, math.pi / 2, math.pi / 2, math.pi / 2))
    assert len(likeness) == 7
    assert int(np.argmin(likeness)) == 3
    assert likeness[3] == pytest.approx(0, abs=1e-6)
    assert likeness[0] == pytest.approx(1, abs=1e-6)


def test_a_window_is_three_sentences_on_each_side() -> None:
    left, right = unit_vectors(0.1, 0.2, 0.3), unit_vectors(0.9, 1.0, 1.1)
    likeness = window_similarities(np.vstack([unit_vectors(3.0), left, right, unit_vectors(3.0)]))
    assert likeness[3] == pytest.approx(math.cos(1.0 - 0.2), abs=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_no_boundaries_no_similarities(count: int) -> None:
    assert window_similarities(np.ones((count, 2), dtype=np.float32)) == []


def test_similarities_are_rescaled_over_the_whole_document() -> None:
    assert standardised([[0.1], [], [0.3]]) == [[pytest.approx(-1)], [], [pytest.approx(1)]]
    assert standardised([[0.5, 0.5]]) == [[0, 0]]
    assert standardised([[], []]) == [[], []]


def test_the_price_of_a_length() -> None:
    assert length_cost(168) == 0
    assert length_cost(84) == pytest.approx(0.35 * 0.25)
    assert length_cost(30) == pytest.approx(0.35 * (138 / 168) ** 2 + 0.5)
    assert similarity_cost(-2) == pytest.approx(-0.3)


def test_equal_sentences_are_cut_into_even_chunks() -> None:
    assert best_cuts([42] * 8, [0.0] * 7, room=lambda _: 240) == [0, 4]


def test_a_cheap_boundary_wins_over_an_even_length() -> None:
    costs = [0.0] * 7
    costs[2] = -1.0
    assert best_cuts([42] * 8, costs, room=lambda _: 240) == [0, 3]


def test_a_sentence_longer_than_the_room_stands_alone() -> None:
    assert best_cuts([10, 300, 10], [0.0, 0.0], room=lambda _: 240) == [0, 1, 2]


lengths = st.lists(st.integers(1, 200), min_size=1, max_size=8)


@given(lengths, st.data())
def test_no_other_cut_is_cheaper(pieces: list[int], data: st.DataObject) -> None:
    costs = data.draw(st.lists(st.floats(-1, 1), min_size=len(pieces) - 1, max_size=len(pieces) - 1))

    def price(starts: tuple[int, ...]) -> float:
        chunks = [sum(pieces[a:b]) for a, b in itertools.pairwise([*starts, len(pieces)])]
        sizes = [b - a for a, b in itertools.pairwise([*starts, len(pieces)])]
        if any(length > 240 and size > 1 for length, size in zip(chunks, sizes, strict=True)):
            return math.inf
        return sum(map(length_cost, chunks)) + sum(costs[start - 1] for start in starts[1:])

    inner = range(1, len(pieces))
    every = [(0, *cut) for n in range(len(pieces)) for cut in itertools.combinations(inner, n)]
    found = tuple(best_cuts(pieces, costs, room=lambda _: 240))
    assert price(found) == pytest.approx(min(map(price, every)))
