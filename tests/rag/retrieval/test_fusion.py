from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.fusion import convex_combination, reciprocal_rank_fusion

ids = st.integers(min_value=0, max_value=30)
scores = st.dictionaries(ids, st.floats(min_value=0, max_value=1), max_size=12)
rankings = st.lists(st.lists(ids, unique=True, max_size=8), max_size=4)


def test_the_combination_is_the_weighted_sum():
    fused = convex_combination({"a": 0.8, "b": 0.2}, {"b": 0.6, "c": 1.0}, weight=0.75)
    assert fused == [("a", 0.75 * 0.8), ("b", 0.75 * 0.2 + 0.25 * 0.6), ("c", 0.25 * 1.0)]


def test_equal_scores_break_by_id():
    assert [key for key, _ in convex_combination({"b": 0.5, "a": 0.5}, {}, weight=1.0)] == ["a", "b"]


def test_a_weight_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="weight"):
        convex_combination({}, {}, weight=1.5)


@given(scores, scores, st.floats(min_value=0, max_value=1))
def test_every_id_comes_out_once_best_first(dense, lexical, weight):
    fused = convex_combination(dense, lexical, weight=weight)
    assert sorted(key for key, _ in fused) == sorted({*dense, *lexical})
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@given(scores, scores, st.floats(min_value=0, max_value=1), ids, st.floats(min_value=0, max_value=1))
def test_a_better_score_in_a_leg_never_lowers_a_rank(dense, lexical, weight, key, more):
    before = [found for found, _ in convex_combination({**dense, key: 0.0}, lexical, weight=weight)].index(key)
    after = [found for found, _ in convex_combination({**dense, key: more}, lexical, weight=weight)].index(key)
    assert after <= before


def test_reciprocal_ranks_are_summed():
    fused = dict(reciprocal_rank_fusion([["a", "b"], ["b"]], k=60))
    assert fused == {"a": 1 / 61, "b": 1 / 62 + 1 / 61}


@given(rankings)
def test_the_order_of_the_rankings_does_not_matter(given_rankings):
    results = [reciprocal_rank_fusion(order) for order in permutations(given_rankings)]
    assert all([key for key, _ in r] == [key for key, _ in results[0]] for r in results) or all(
        abs(dict(r)[key] - score) < 1e-12 for r in results for key, score in results[0]
    )


def test_nothing_fuses_to_nothing():
    assert reciprocal_rank_fusion([]) == reciprocal_rank_fusion([[], []]) == []
    assert convex_combination({}, {}, weight=0.5) == []
