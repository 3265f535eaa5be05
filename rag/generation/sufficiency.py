"""Whether the corpus holds an answer, judged before anything is spent on writing one.

A logistic over two signs: the cosine of the best sentence, and BM25 over its theoretical maximum. The coefficients
belong to one build of the encoder. docs/answers.md has the curve, and the command that fits it.
"""

import math
from typing import Final

from rag.domain import Evidence

_BEST_SENTENCE: Final = 19.275
_LEXICAL_COVERAGE: Final = 5.784
_INTERCEPT: Final = -13.836


def sufficiency(evidence: Evidence) -> float:
    """The estimated probability, in [0, 1], that the passages found answer the question."""
    logit = _BEST_SENTENCE * evidence.best_sentence + _LEXICAL_COVERAGE * evidence.lexical_coverage + _INTERCEPT
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))
