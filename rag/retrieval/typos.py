"""How far what was typed is from a word, which words may be corrected at all, and which correction is the likeliest."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

_TOKEN: Final = re.compile(r"\w+(?:[-'’./]\w+)*")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_ONE_EDIT: Final = 4  # letters, from which one mistake is forgiven
_TWO_EDITS: Final = 8
_LONGEST: Final = 40
_MOST_WORDS: Final = 12  # of a query that are looked at: a question is not a list of misspellings


class Typed(msgspec.Struct, frozen=True):
    """A word of a query that may be misspelled, and where it stands; `begins` says that it may go on."""

    word: str
    start: int
    end: int
    begins: bool = False


class Candidate(msgspec.Struct, frozen=True):
    """A word that may have been meant: so many mistakes away, after so many of its letters."""

    word: str
    edits: int
    letters: int


def edits_allowed(word: str) -> int:
    """How many mistakes are forgiven in a word: none under 4 letters or with a digit in it, 1, and from 8 letters 2."""
    if not _LETTERS.fullmatch(word) or not _ONE_EDIT <= len(word) <= _LONGEST:
        return 0
    return 2 if len(word) >= _TWO_EDITS else 1


def distance(typed: str, word: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours from one to the other, no letter edited twice."""
    return _rows(typed, word)[-1]


def beginning_distance(typed: str, word: str) -> tuple[int, int]:
    """The least distance from what was typed to a beginning of the word, and how many letters that beginning has.

    Of beginnings that are as near, the one whose length is nearest to what was typed.
    """
    edits, _, letters = min((edits, abs(n - len(typed)), n) for n, edits in enumerate(_rows(typed, word)))
    return edits, letters


def correctable(text: str, *, begins: bool = False) -> list[Typed]:
    """The words of a query that may be misspelled, in order; with `begins` its last word may go on.

    A token with a digit anywhere in it is an article number or a measure, and is left alone.
    """
    found = [
        Typed(letters[0], token.start() + letters.start(), token.start() + letters.end())
        for token in _TOKEN.finditer(text)
        if not any(character.isdigit() for character in token[0])
        for letters in _LETTERS.finditer(token[0])
        if edits_allowed(letters[0])
    ]
    marked = [msgspec.structs.replace(typed, begins=begins and typed.end == len(text)) for typed in found]
    return marked[-_MOST_WORDS:]


def nearest(typed: str, words: Iterable[str], *, begins: bool, most: int) -> list[Candidate]:
    """The words within the mistakes that are forgiven, the likeliest `most` first.

    Fewer mistakes first, then those that begin with the letter that was typed, then in the order given.
    """
    measured = (_measure(typed, word, begins=begins) for word in words)
    near = [candidate for candidate in measured if candidate.edits <= edits_allowed(typed)]
    return sorted(near, key=lambda c: (c.edits, c.word[:1] != typed[:1]))[:most]


def replaced(text: str, corrections: Sequence[tuple[Typed, str]]) -> str:
    """The text with words put in the place of others."""
    for typed, word in sorted(corrections, key=lambda pair: -pair[0].start):
        text = text[: typed.start] + word + text[typed.end :]
    return text


def _measure(typed: str, word: str, *, begins: bool) -> Candidate:
    if not begins:
        return Candidate(word, distance(typed, word), len(word))
    return Candidate(word, *beginning_distance(typed, word[: len(typed) + _TWO_EDITS]))


def _rows(typed: str, word: str) -> list[int]:
    """The distance from what was typed to each beginning of the word, the empty one first."""
    before: list[int] = []
    last = list(range(len(word) + 1))
    for i, letter in enumerate(typed, 1):
        row = [i]
        for j, other in enumerate(word, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == word[j - 2] and typed[i - 2] == other:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last
