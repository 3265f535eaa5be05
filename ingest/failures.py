"""What becomes of a failure: tried again if time can mend it, dead at once if not, always with a reason."""

import random
from typing import Final

from rag.domain import JobError, JobState
from rag.errors import CloisterError, DocumentError
from rag.telemetry import log

_BASE_S: Final = 2.0
_CAP_S: Final = 600.0


class TryAgain(Exception):
    """The attempt failed for a reason that time may mend; `after_s` is how long to wait."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"try again after {after_s:.1f} s")
        self.after_s = after_s


def describe(error: Exception, stage: str) -> JobError:
    """The failure in words that a person can act on; never a traceback, never the library's own text."""
    if isinstance(error, DocumentError):
        return JobError(error.reason, error.message, stage, error.hint)
    if isinstance(error, CloisterError):
        return JobError(error.code, error.message, stage)
    log.exception("ingest_unexpected", stage=stage, error=type(error).__name__)
    return JobError(
        "internal",
        f"an unexpected {type(error).__name__} while {stage}",
        stage,
        "this is a defect; the worker's log has its traceback under 'ingest_unexpected'",
    )


def outcome(error: Exception, *, attempts: int, max_attempts: int) -> JobState:
    """`failed` when the next attempt may succeed, `dead` when it cannot or was the last."""
    transient = error.transient if isinstance(error, CloisterError) else True
    return "failed" if transient and attempts < max_attempts else "dead"


def backoff_s(attempts: int) -> float:
    """How long to wait after this many attempts: exponential, capped at ten minutes, with full jitter."""
    return random.uniform(0.2, min(_CAP_S, _BASE_S * 2**attempts))  # noqa: S311 - spreads load, keeps no secret
