import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.fusion import convex_combination

ids = st.sampled_from("abcdefgh")
scores = st.floats(-1, 1, allow_nan=False, allow_subnormal=False)
legs = st.dictionaries(ids, scores)
weights = st.floats(0, 1)


def shuffled(leg: dict[str, float]) -> dict[str, float]:
    items = list(leg.items())
    random.Random(7).shuffle(items)  # noqa: S311 - any other order
    return dict(items)


# ---------------------------------------------------------------- convex combination


def test_scores_are_weighed_and_added():
    fused = convex_combination({"a": 0.8, "b": 0.2}, {"b": 1.0, "c": 0.5}, weight=0.75)
    assert fused == [
        ("a", pytest.approx(0.75 * 0.8)),
        ("b", pytest.approx(0.75 * 0.2 + 0.25 * 1.0)),
        ("c", pytest.approx(0.25 * 0.5)),
    ]


def test_nothing_gives_nothing():
    assert convex_combination({}, {}, weight=0.5) == []


@given(dense=legs, lexical=legs, weight=weights)
def test_the_order_of_what_goes_in_is_of_no_matter(dense, lexical, weight):
    fused = convex_combination(dense, lexical, weight=weight)
    assert fused == convex_combination(shuffled(dense), shuffled(lexical), weight=weight)


@given(dense=legs, lexical=legs, weight=weights)
def test_whatever_any_leg_found_is_there_once_best_first_and_equals_by_id(dense, lexical, weight):
    fused = convex_combination(dense, lexical, weight=weight)
    assert sorted(key for key, _ in fused) == sorted({*dense, *lexical})
    assert fused == sorted(fused, key=lambda item: (-item[1], item[0]))


@given(dense=legs, lexical=legs, weight=st.floats(0.01, 0.99), key=ids, more=st.floats(0.01, 1))
def test_a_better_score_never_gives_a_worse_place(dense, lexical, weight, key, more):
    raised = {**dense, key: dense.get(key, 0.0) + more}
    before = [item for item, _ in convex_combination({key: 0.0, **dense}, lexical, weight=weight)]
    after = [item for item, _ in convex_combination(raised, lexical, weight=weight)]
    assert after.index(key) <= before.index(key)
    assert [item for item in after if item != key] == [item for item in before if item != key]


@given(dense=legs, lexical=legs)
def test_at_either_end_one_leg_decides(dense, lexical):
    assert dict(convex_combination(dense, lexical, weight=1)) == pytest.approx(
        {key: dense.get(key, 0.0) for key in {*dense, *lexical}}
    )
    assert dict(convex_combination(dense, lexical, weight=0)) == pytest.approx(
        {key: lexical.get(key, 0.0) for key in {*dense, *lexical}}
    )


@given(dense=legs, lexical=legs, weight=weights)
def test_a_score_lies_between_those_it_is_made_of(dense, lexical, weight):
    for key, score in convex_combination(dense, lexical, weight=weight):
        both = dense.get(key, 0.0), lexical.get(key, 0.0)
        assert min(both) - 1e-9 <= score <= max(both) + 1e-9


@pytest.mark.parametrize("weight", [-0.01, 1.01, math.nan, math.inf])
def test_a_weight_lies_between_nought_and_one(weight):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        convex_combination({"a": 1.0}, {}, weight=weight)
