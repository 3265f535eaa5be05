"""How much of a hybrid score each leg decides: a weight for every query, from what its words can tell."""

from collections.abc import Collection
from typing import Final

_TYPICAL_MASS: Final = 20.0  # summed IDF of some six content words in a corpus of a few thousand chunks
GROWTH: Final = 0.25
_UNREAD: Final = 0.25  # of the dense leg, at most, where the encoder does not read the language
_NO_LANGUAGE: Final = "simple"


def typical_weight(weight: float, languages: Collection[str], *, read: Collection[str]) -> float:
    """The dense leg's weight, for a typical query, in collections of these languages.

    It is `weight` where the encoder reads one of them (`read`; `*` is all of them), and a quarter at most where it
    reads none: its vectors still tell something there, but less than the words.
    """
    readable = {*read, _NO_LANGUAGE}
    return weight if "*" in readable or not languages or readable & set(languages) else min(weight, _UNREAD)


def dense_share(weight: float, mass: float, *, growth: float = GROWTH) -> float:
    """The dense leg's weight for a query whose lexemes' IDFs sum up to `mass`, more than 0; in [0, 1].

    The odds of the lexical leg against the dense one are those of `weight` at a mass of 20, and grow with its power
    `growth`. At 0 one weight serves every query, and each word of a long one counts for little; at 1 BM25 counts as
    it is, unnormalised. At a weight of 0 or 1 one leg decides alone.
    """
    lexical: float = (1 - weight) * (mass / _TYPICAL_MASS) ** growth
    return weight / (weight + lexical)
