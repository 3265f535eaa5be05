"""Whether the corpus holds an answer, judged before anything is spent on writing one.

A logistic over three signs: the cosines of the best sentence and of the best chunk, and BM25 over its theoretical
maximum. The coefficients belong to one build of the encoder; at 0.5 one answerable question in twenty is refused.
docs/answers.md has the figures, docs/evaluation.md the command that fits them.
"""

import math
from typing import Final

from rag.domain import Evidence

_BEST_SENTENCE: Final = 11.457
_BEST_CHUNK: Final = 9.942
_LEXICAL_COVERAGE: Final = 16.573
_INTERCEPT: Final = -14.59


def sufficiency(evidence: Evidence) -> float:
    """The estimated probability, in [0, 1], that the passages found answer the question."""
    logit = (
        _BEST_SENTENCE * evidence.best_sentence
        + _BEST_CHUNK * evidence.best_chunk
        + _LEXICAL_COVERAGE * evidence.lexical_coverage
        + _INTERCEPT
    )
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))
