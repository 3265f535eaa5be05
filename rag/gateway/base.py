"""What a gateway is: it writes an answer out of passages, and names a passage's sentence for each of its own."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from rag.domain import Passage, Usage


class Source(msgspec.Struct, frozen=True):
    """A sentence that may be cited: its place in a passage, its text, its cosine to the question.

    `start` and `end` are in the version's text; `relevance` is the score of the passage's hit.
    """

    passage: int
    start: int
    end: int
    text: str
    similarity: float
    relevance: float


class Claim(msgspec.Struct, frozen=True):
    """A sentence of a draft, with the sources it rests on by their place in the list that was given."""

    text: str
    sources: list[int]


class Draft(msgspec.Struct, frozen=True):
    """What a gateway wrote; nothing of it is trusted until its citations are verified."""

    claims: list[Claim]
    model: str | None = None
    usage: Usage = Usage()


class Gateway(Protocol):
    """Writes answers."""

    name: str

    async def answer(self, question: str, passages: Sequence[Passage], sources: Sequence[Source]) -> Draft:
        """A draft answer; no claims means that the passages do not answer the question."""
        ...
