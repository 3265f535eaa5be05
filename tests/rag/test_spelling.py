import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.spelling import one_spelling


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("\ufb01le \uff21", "file A"),  # a ligature and a full-width letter
        ("CO\u2082 at 20 m\u00b2", "CO2 at 20 m2"),
        ("infor\u00admation, host\u200bname\u200d", "information, hostname"),
        ("Intel\u00ae Core\u21222", "Intel  Core 2"),
        ("state\u2011of\u2013the\u2014art \u22125", "state-of-the-art -5"),
        ("don\u2019t", "don't"),
        ("Größe É", "Größe É"),
        ("", ""),
    ],
)
def test_what_is_meant_alike_is_written_alike(written, expected):
    assert one_spelling(written) == expected


@given(st.text())
def test_twice_is_once(text):
    assert one_spelling(one_spelling(text)) == one_spelling(text)
