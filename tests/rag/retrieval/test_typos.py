"""Distances against their definition, and what may be corrected at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.typos import (
    Typed,
    beginning_distance,
    correctable,
    distance,
    edits_allowed,
    nearest,
    replaced,
)

WORDS = st.text("abcd", max_size=7)


def reference(a: str, b: str) -> int:
    """Optimal string alignment, by its recursion."""
    if not a or not b:
        return len(a) + len(b)
    options = [
        reference(a[:-1], b) + 1,
        reference(a, b[:-1]) + 1,
        reference(a[:-1], b[:-1]) + (a[-1] != b[-1]),
    ]
    if len(a) > 1 and len(b) > 1 and a[-1] == b[-2] and a[-2] == b[-1]:
        options.append(reference(a[:-2], b[:-2]) + 1)
    return min(options)


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_the_distance_is_that_of_its_definition(a, b):
    assert distance(a, b) == reference(a, b)


@given(WORDS, WORDS)
def test_it_is_a_distance(a, b):
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))


@given(WORDS, WORDS)
def test_the_distance_to_a_beginning_is_the_least_to_any(typed, word):
    edits, letters = beginning_distance(typed, word)
    distances = {n: distance(typed, word[:n]) for n in range(len(word) + 1)}
    assert edits == min(distances.values()) == distances[letters]


@pytest.mark.parametrize(
    ("typed", "word", "edits"),
    [("zebrafrok", "zebrafork", 1), ("hpone", "phone", 1), ("mose", "mouse", 1), ("keybord", "keyboard", 1)],
)
def test_neighbours_that_swapped_are_one_mistake(typed, word, edits):
    assert distance(typed, word) == edits


@pytest.mark.parametrize(
    ("word", "edits"),
    [("tv", 0), ("usb", 0), ("lamp", 1), ("charger", 1), ("headphon", 2), ("tn2110", 0), ("x" * 41, 0), ("naïve", 1)],
)
def test_longer_words_are_forgiven_more(word, edits):
    assert edits_allowed(word) == edits


def test_article_numbers_and_short_words_are_left_alone():
    found = [typed.word for typed in correctable("brothr tn-abcd1 of 4x4 toner-catridge USB wh-ch510 lamp.")]
    assert found == ["brothr", "toner", "catridge", "lamp"]


def test_the_last_word_may_go_on_and_no_other():
    text = "gaming keyb"
    assert correctable(text, begins=True) == [Typed("gaming", 0, 6), Typed("keyb", 7, 11, begins=True)]
    assert [typed.begins for typed in correctable("gaming keyb!", begins=True)] == [False, False]


def test_only_the_last_words_of_a_long_text_are_looked_at():
    assert len(correctable("word " * 300)) == 12


def test_the_nearest_come_first_and_then_those_that_begin_alike():
    words = ["map", "lamps", "lamp", "damp", "lump", "stamp"]
    assert [c.word for c in nearest("lmap", words, begins=False, most=9)] == ["lamp", "map"]
    assert [c.word for c in nearest("lemp", words, begins=False, most=9)] == ["lamp", "lump"]
    assert [c.word for c in nearest("lemp", words, begins=False, most=1)] == ["lamp"]
    assert nearest("usb", ["usa"], begins=False, most=9) == []


def test_a_beginning_is_near_to_longer_words():
    (found,) = nearest("zebrfo", ["zebrafork"], begins=True, most=9)
    assert (found.edits, "zebrafork"[: found.letters]) == (1, "zebrafo")
    assert nearest("zebrfo", ["zebrafork"], begins=False, most=9) == []


def test_words_are_replaced_where_they_stand():
    text = "wirless mose"
    first, second = correctable(text)
    assert replaced(text, [(first, "wireless"), (second, "mouse")]) == "wireless mouse"
    assert replaced(text, []) == text
