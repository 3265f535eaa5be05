from hypothesis import given
from hypothesis import strategies as st

from rag.domain import Evidence
from rag.generation.sufficiency import sufficiency

signs = st.floats(min_value=-1, max_value=1)
steps = st.floats(min_value=0, max_value=1)


@given(signs, signs, signs)
def test_it_is_a_probability(sentence: float, chunk: float, coverage: float):
    assert 0 <= sufficiency(Evidence(sentence, chunk, coverage)) <= 1


@given(signs, signs, signs, steps)
def test_more_evidence_never_lowers_it(sentence: float, chunk: float, coverage: float, more: float):
    least = sufficiency(Evidence(sentence, chunk, coverage))
    assert sufficiency(Evidence(sentence + more, chunk, coverage)) >= least
    assert sufficiency(Evidence(sentence, chunk + more, coverage)) >= least
    assert sufficiency(Evidence(sentence, chunk, coverage + more)) >= least


def test_strong_signs_suffice_and_none_do_not():
    assert sufficiency(Evidence(0.8, 0.75, 0.5)) > 0.95
    assert sufficiency(Evidence(0.2, 0.2, 0.05)) < 0.05
