import numpy as np
import pytest

from eval.significance import bootstrap_interval, difference, permutation_test


def test_few_queries_are_enumerated() -> None:
    # Of the 8 ways to sign three equal differences, all plus and all minus are as far from zero.
    assert permutation_test(np.array([0.1, 0.1, 0.1])) == 2 / 8
    # 1, 2, 4: the sums are all distinct, 7 and -7 the extremes.
    assert permutation_test(np.array([1.0, 2.0, 4.0])) == 2 / 8
    # |1 + 2 - 4| = 1 or more: every one of the eight.
    assert permutation_test(np.array([1.0, 2.0, -4.0])) == 1


def test_no_difference_is_no_evidence() -> None:
    assert permutation_test(np.zeros(5)) == 1
    assert permutation_test(np.zeros(50)) == 1


def test_many_queries_are_sampled_and_no_p_value_is_zero() -> None:
    assert permutation_test(np.full(40, 0.1), trials=999) == 1 / 1000
    assert permutation_test(np.tile([0.1, -0.1], 20), trials=999) == 1


def test_sampling_agrees_with_enumeration() -> None:
    deltas = np.random.default_rng(3).normal(0.3, 1.0, 13)
    padded = np.append(deltas, np.zeros(1))  # fourteen queries, one of which cannot matter: sampled
    assert permutation_test(padded) == pytest.approx(permutation_test(deltas), abs=0.02)


def test_p_values_are_uniform_where_there_is_nothing() -> None:
    generator = np.random.default_rng(11)
    values = [permutation_test(generator.normal(0, 1, 20), trials=500) for _ in range(300)]
    assert np.mean(np.array(values) < 0.2) == pytest.approx(0.2, abs=0.07)


def test_the_interval_holds_the_mean_and_shrinks_with_more_queries() -> None:
    deltas = np.random.default_rng(5).normal(0.5, 1.0, 400)
    low, high = bootstrap_interval(deltas)
    assert low < deltas.mean() < high
    # The normal approximation: 1.96 standard errors on each side.
    assert high - low == pytest.approx(2 * 1.96 * deltas.std() / 20, rel=0.05)


def test_a_narrower_level_gives_a_narrower_interval() -> None:
    deltas = np.arange(30.0)
    (low, high), (lower, higher) = bootstrap_interval(deltas, level=0.5), bootstrap_interval(deltas, level=0.99)
    assert lower < low < high < higher


def test_a_difference_is_ours_less_theirs() -> None:
    found = difference([1.0, 0.5, 0.75], [0.5, 0.5, 0.25])
    assert found.mean == pytest.approx((0.5 + 0 + 0.5) / 3, abs=1e-6)
    assert found.p_value == 4 / 8  # the sign of 0 does not matter: ++ and --, twice each
    assert (found.low, found.high) == (0.0, 0.5)
    assert found.queries == 3


def test_equal_input_gives_equal_output() -> None:
    ours, theirs = list(np.linspace(0, 1, 30)), list(np.linspace(0.1, 0.8, 30))
    assert difference(ours, theirs) == difference(ours, theirs)


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], []), ([1.0], [1.0, 2.0])])
def test_unpaired_values_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match="as many values"):
        difference(ours, theirs)
