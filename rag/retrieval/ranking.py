"""What the legs and their fusion came to, and what that says of a hit and of the query."""

from typing import Final

import msgspec

from rag.domain import ChunkId, Evidence, Ranks
from rag.retrieval.planning import DensePlan
from rag.store.search import LexicalPlan, Scored

_SENTENCE_SHARE: Final = 0.5  # of the dense score: the best sentence's cosine beside the chunk's own

Leg = list[tuple[ChunkId, float]]


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """A query's candidates in order, before anything is read; `weight` is the dense leg's.

    `dense_plan` says how the dense leg went about it, None when it did not run.
    """

    fused: Leg
    scored: dict[ChunkId, Scored]
    dense: Leg
    lexical: Leg
    plan: LexicalPlan | None
    weight: float
    dense_plan: DensePlan | None

    def may_go_deeper(self, depth: int) -> bool:
        """Whether a leg was cut at this depth."""
        return max(len(self.dense), len(self.lexical)) >= depth

    def ranks(self, chunk: ChunkId) -> Ranks:
        """The chunk's rank in each leg, from 1; None where the leg did not name it."""
        return Ranks(_rank_in(self.dense, chunk), _rank_in(self.lexical, chunk))

    def evidence(self) -> Evidence:
        """The strongest sign, over all candidates, that the corpus holds an answer."""
        rows = self.scored.values()
        covered = [self.plan.share(row.bm25) for row in rows] if self.plan else []
        signs = [row.best_sentence for row in rows], [row.cosine for row in rows], covered
        return Evidence(*(round(max(sign, default=0.0), 6) for sign in signs))


def dense_score(row: Scored) -> float:
    """The chunk's cosine and its best sentence's, in equal parts: a long chunk is found by the line that answers."""
    return (1 - _SENTENCE_SHARE) * row.cosine + _SENTENCE_SHARE * row.best_sentence


def _rank_in(leg: Leg, chunk: ChunkId) -> int | None:
    return next((rank for rank, (key, _) in enumerate(leg, 1) if key == chunk), None)
