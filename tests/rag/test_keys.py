import hashlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.keys import digest_key, display_key, generate_key

KINDS = {"secret": "clo_sk_", "publishable": "clo_pk_", "operator": "clo_op_"}
ALPHABET = string.ascii_letters + string.digits + "_-"


@pytest.mark.parametrize(("kind", "prefix"), KINDS.items())
def test_a_key_shows_its_kind_and_hides_the_rest(kind, prefix):
    key = generate_key(kind)
    assert re.fullmatch(prefix + r"[A-Za-z0-9_-]{49}", key)
    assert display_key(key) == key[:13] + "…"
    assert len(display_key(key)) < 20


def test_no_two_keys_are_alike():
    keys = {generate_key("secret") for _ in range(200)}
    assert len({key[:20] for key in keys}) == len({digest_key(key) for key in keys}) == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_stands_in_the_database_as_its_digest(kind):
    key = generate_key(kind)
    assert digest_key(key) == hashlib.sha256(key.encode()).digest()


@given(position=st.integers(0, 55), letter=st.sampled_from(ALPHABET))
def test_a_typing_error_is_seen_without_asking(position, letter):
    key = generate_key("secret")
    mistyped = key[:position] + letter + key[position + 1 :]
    assert (digest_key(mistyped) is None) == (mistyped != key)


@given(first=st.integers(7, 54))
def test_two_letters_in_each_others_place_are_seen(first):
    key = generate_key("secret")
    swapped = key[:first] + key[first + 1] + key[first] + key[first + 2 :]
    assert (digest_key(swapped) is None) == (swapped != key)


@pytest.mark.parametrize("kind", ["pk", "op", "xx"])
def test_a_key_cannot_be_made_another_kind(kind):
    key = generate_key("secret")
    assert digest_key(f"clo_{kind}_{key[7:]}") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key + "\n",
        lambda key: " " + key,
        lambda key: key.upper(),
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key[7:],
        lambda key: key.replace(key[10], "é", 1),
        lambda key: key * 2,
    ],
)
def test_what_cannot_be_a_key_has_no_digest(change):
    assert digest_key(change(generate_key("secret"))) is None


@given(st.text(max_size=80))
def test_no_text_is_an_error(text):
    assert digest_key(text) is None
