import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.weighting import dense_share, typical_weight

weights = st.floats(0.01, 0.99)
masses = st.floats(0.1, 500)


@given(weight=weights, growth=st.floats(0, 1))
def test_a_query_of_twenty_has_the_weight_that_is_set(weight, growth):
    assert dense_share(weight, 20.0, growth=growth) == pytest.approx(weight)


@pytest.mark.parametrize(("mass", "share"), [(20 * 16, 0.6 / (0.6 + 0.4 * 2)), (20 / 16, 0.6 / (0.6 + 0.4 / 2))])
def test_sixteen_times_the_mass_is_twice_the_odds(mass, share):
    assert dense_share(0.6, mass) == pytest.approx(share)


@given(weight=weights, mass=masses, more=st.floats(0.1, 100))
def test_the_more_a_query_says_the_more_its_words_decide(weight, mass, more):
    assert dense_share(weight, mass + more) < dense_share(weight, mass)


@given(mass=masses)
def test_at_either_end_one_leg_decides_whatever_the_query(mass):
    assert (dense_share(0.0, mass), dense_share(1.0, mass)) == (0, 1)


@given(weight=weights, mass=masses, bm25=st.floats(0, 1), dense=st.floats(0, 1))
def test_with_full_growth_bm25_counts_as_it_is(weight, mass, bm25, dense):
    share = dense_share(weight, mass, growth=1.0)
    score = share * dense + (1 - share) * bm25 * mass / mass
    assert score / share == pytest.approx(dense + (1 - weight) / weight / 20 * (bm25 * mass), abs=1e-9)
    assert not math.isnan(score)


@pytest.mark.parametrize(
    ("languages", "read", "expected"),
    [
        ({"english"}, {"english"}, 0.6),
        ({"german"}, {"english"}, 0.25),
        ({"german", "english"}, {"english"}, 0.6),
        ({"german"}, {"english", "german"}, 0.6),
        ({"german"}, {"*"}, 0.6),
        ({"simple"}, {"english"}, 0.6),  # a language that nobody named
        (set(), {"english"}, 0.6),
    ],
)
def test_where_the_encoder_reads_nothing_the_words_decide(languages, read, expected):
    assert typical_weight(0.6, languages, read=read) == expected


def test_a_weight_that_is_low_already_stays():
    assert typical_weight(0.1, {"german"}, read={"english"}) == 0.1
