import re

import pytest

from rag import errors
from rag.errors import CloisterError, DocumentError, InterruptedDocument, InvalidInput, Unavailable, UnreadableDocument


def tree(kind: type[CloisterError] = CloisterError) -> dict[str, str]:
    """Each class of the module with its parent's name."""
    found = {}
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= {child.__name__: kind.__name__, **tree(child)}
    return found


def drawn() -> dict[str, str]:
    """The tree at the top of the file, read from its branches."""
    path, found = {0: "CloisterError"}, {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"(?P<lead>[│ ]*)[├└]── (?P<name>\w+)", line):
            depth = len(match["lead"]) // 4 + 1
            path[depth] = match["name"]
            found[match["name"]] = path[depth - 1]
    return found


def test_the_tree_at_the_top_is_the_tree_of_the_classes():
    assert drawn() == tree()


def test_each_has_a_code_of_its_own():
    kinds = [CloisterError, *(getattr(errors, name) for name in tree())]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("name", tree())
def test_each_says_what_went_wrong(name):
    kind = getattr(errors, name)
    error = kind("the reason")
    assert (error.message, str(error)) == ("the reason", "the reason")
    assert kind.__doc__
    assert kind.title
    assert 400 <= kind.status < 600


@pytest.mark.parametrize("name", [name for name, parent in tree().items() if parent in {"Refused", "Unavailable"}])
def test_what_the_caller_did_is_final_and_what_is_away_is_not(name):
    kind = getattr(errors, name)
    refused = tree()[name] == "Refused"
    assert (kind.status < 500, kind.transient) == (refused, not refused)


@pytest.mark.parametrize("name", ["Deferred", "RateLimited", "RequestInProgress", "TooManyAtOnce", "TooManyFailures"])
def test_what_comes_too_early_may_come_again(name):
    error = getattr(errors, name)("x", retry_after=2.5)
    assert (error.status < 500, error.transient, error.retry_after) == (True, True, 2.5)


def test_what_a_handler_needs_is_carried():
    assert InvalidInput("x", pointer="/a").pointer == "/a"
    assert InvalidInput("x").pointer == ""
    assert Unavailable("x", retry_after=2.5).retry_after == 2.5
    assert Unavailable("x").retry_after > 0


def test_a_document_says_why_and_what_to_do():
    error = UnreadableDocument("x", code="no_text", hint="send another")
    assert (error.reason, error.hint, error.transient) == ("no_text", "send another", False)
    assert (UnreadableDocument("x").reason, UnreadableDocument("x").hint) == ("unreadable_document", "")
    assert InterruptedDocument("x").transient
    assert UnreadableDocument.code == "unreadable_document", "its class keeps its own"
    assert issubclass(InterruptedDocument, DocumentError)
