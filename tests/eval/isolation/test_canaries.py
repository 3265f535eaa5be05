import base64
from urllib.parse import quote
from uuid import uuid4

import pytest

from eval.isolation.canaries import Canaries, Canary, new_word


@pytest.fixture
def word() -> str:
    return new_word()


@pytest.fixture
def canaries(word: str) -> Canaries:
    planted = Canaries()
    planted.plant([canary_of(word)])
    return planted


def canary_of(word: str, **more: object) -> Canary:
    return Canary(word=word, what="text of alpha/red", kind="passage", tenant="alpha", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "write",
    [
        lambda word: f"before {word} after",
        lambda word: word.upper(),
        lambda word: word.encode().hex(),
        lambda word: "".join(f"%{ord(letter):02X}" for letter in word),
        lambda word: "".join(f"\\u{ord(letter):04x}" for letter in word),
        *(lambda word, n=n: base64.b64encode(b"x" * n + word.encode() + b"tail").decode() for n in range(4)),
        *(lambda word, n=n: base64.urlsafe_b64encode(b"\xff" * n + word.encode()).decode() for n in range(3)),
    ],
)
def test_a_word_is_seen_however_it_is_written(write, word, canaries):
    assert canaries.traces(write(word).encode()) == {canary_of(word)}


def test_an_id_is_seen_without_its_hyphens_too(canaries):
    identity = uuid4()
    canaries.plant([canary_of(str(identity))])
    for written in (str(identity), identity.hex, quote(str(identity).upper())):
        assert canaries.traces(written.encode()) == {canary_of(str(identity))}


def test_another_word_is_not_seen(canaries):
    assert canaries.traces(new_word().encode() * 50) == set()
    assert canaries.traces(b"") == set()


def test_planting_again_changes_who_may_see_it(word, canaries):
    canaries.plant([canary_of(word, gone=True)])
    assert canaries.traces(word.encode()) == {canary_of(word, gone=True)}


def test_words_do_not_repeat():
    assert len({new_word() for _ in range(1000)}) == 1000
