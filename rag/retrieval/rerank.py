"""The optional last stage: a reader of query and passage together puts the head of a ranking in order again.

It is asked for by the caller, bounded in candidates and time, and never the reason that a search fails: what goes
wrong is noted, and the ranking stays as it was.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from rag.domain import ChunkId, Passage
from rag.errors import EncoderUnavailable
from rag.telemetry import log

CANDIDATES: Final = 30  # of the head of the ranking; what stands below keeps its place

NOT_CONFIGURED: Final = "no reranker is configured"

Ranked = list[tuple[ChunkId, float]]


class Reranker(Protocol):
    """Judges passages against a query, on a thread of its own."""

    @property
    def name(self) -> str | None:
        """Name the model; None when there is none to ask."""

    async def score(self, query: str, texts: Sequence[str], /) -> list[float]:
        """How well each text answers the query, in [0, 1], in order.

        Raises `EncoderUnavailable` when it is closed, fails, or does not come to an end in its time.
        """

    async def close(self) -> None:
        """Stop it; a second close does nothing."""


class NullReranker:
    """No model is configured: nothing is put in another order."""

    name: str | None = None

    async def score(self, _query: str, _texts: Sequence[str], /) -> list[float]:
        """Raise `EncoderUnavailable`: there is none to ask."""
        raise EncoderUnavailable(NOT_CONFIGURED)

    async def close(self) -> None:
        """Do nothing."""


class Reranked(msgspec.Struct, frozen=True):
    """A ranking after the stage; `note` says why it is the one from before, None when it is not.

    `degraded`: the stage was there and did not come to an end, and may the next time.
    """

    ranked: Ranked
    candidates: int = 0
    note: str | None = "not asked for"
    degraded: bool = False

    def told(self, reranker: Reranker) -> dict[str, Any]:
        """What an explanation says of it."""
        return {"model": reranker.name, "candidates": self.candidates, "note": self.note}


async def rerank(reranker: Reranker, query: str, ranked: Ranked, passages: Mapping[ChunkId, Passage]) -> Reranked:
    """Order the first `CANDIDATES` of a ranking by the reranker's judgement.

    Their scores become 1 + the judgement, so that they stay above all that was not judged. Passages that are missing
    from the mapping, held back by row-level security, are left out of the head as they are of every page.
    """
    if reranker.name is None:
        return Reranked(ranked, note=NOT_CONFIGURED)
    head = [item for item in ranked[:CANDIDATES] if item[0] in passages]
    try:
        judged = await reranker.score(query, [readable(passages[chunk]) for chunk, _ in head])
    except EncoderUnavailable as error:
        log.warning("rerank_skipped", reason=error.message)
        return Reranked(ranked, note=error.message, degraded=True)
    order = sorted(zip(head, judged, strict=True), key=lambda pair: (-pair[1], -pair[0][1], pair[0][0]))
    front = [(chunk, 1 + score) for (chunk, _), score in order]
    return Reranked(front + ranked[CANDIDATES:], len(head), None)


def readable(passage: Passage) -> str:
    """A passage as it is judged: under its title and headings, as it was embedded."""
    title = [] if passage.title is None or passage.title in passage.heading_path else [passage.title]
    headings = " › ".join([*title, *passage.heading_path])
    return "\n".join(part for part in (headings, passage.context, passage.text) if part)
