from hypothesis import given
from hypothesis import strategies as st

from ingest.failures import backoff_s, describe, outcome
from rag.errors import DatabaseUnavailable, InterruptedDocument, TooLarge, UnreadableDocument


def test_a_permanent_failure_is_dead_at_the_first_attempt():
    assert outcome(UnreadableDocument("no"), attempts=1, max_attempts=5) == "dead"
    assert outcome(TooLarge("no"), attempts=1, max_attempts=5) == "dead"


def test_a_transient_failure_is_tried_again_until_the_last_attempt():
    assert outcome(DatabaseUnavailable("away"), attempts=4, max_attempts=5) == "failed"
    assert outcome(InterruptedDocument("killed"), attempts=4, max_attempts=5) == "failed"
    assert outcome(DatabaseUnavailable("away"), attempts=5, max_attempts=5) == "dead"


def test_a_reason_carries_what_a_person_can_do():
    reason = describe(UnreadableDocument("not text", code="binary", hint="send text"), "parsing")
    assert (reason.code, reason.message, reason.stage, reason.hint) == ("binary", "not text", "parsing", "send text")


def test_an_unexpected_error_shows_neither_its_text_nor_a_traceback():
    reason = describe(KeyError("secret text of a document"), "chunking")
    assert reason.code == "internal"
    assert "secret" not in reason.message + reason.hint
    assert "KeyError" in reason.message


@given(st.integers(min_value=1, max_value=60))
def test_backoff_is_positive_and_capped(attempts: int):
    assert 0 < backoff_s(attempts) <= 600
