import msgspec
import pytest

from rag.api.body import read_json
from rag.errors import InvalidInput, MalformedBody, TooLarge


class Body(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    limit: int = 1
    more: dict[str, object] = {}


def test_a_body_is_read_into_its_struct():
    assert read_json(b'{"text":"a\\ud83d\\ude00","limit":2}', Body) == Body("a\N{GRINNING FACE}", 2)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"text":"a","limit":"2"}', "/limit"),
        (b'{"text":"a","limit":2.0}', "/limit"),
        (b'{"text":"a","limit":true}', "/limit"),
        (b'{"text":"a","surprise":1}', "/surprise"),
        (b'{"text":"a\\u0000b"}', "/text"),
        (b'{"text":"a","more":{"x":["\\u0000"]}}', "/more/x/0"),
        (b'{"text":"\\ud800"}', "/text"),
        (b'{"text":"a","more":{"x":"\\uDC00y"}}', "/more/x"),
        (b'{"text":"a","more":{"x":1e999}}', "/more"),
        (b"null", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_wrong_value_is_pointed_at(body, pointer):
    with pytest.raises(InvalidInput) as caught:
        read_json(body, Body)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"text":"\xff"}', b'{"text":NaN}', b"\xef\xbb\xbf{}"])
def test_what_is_not_json_is_malformed(body):
    with pytest.raises(MalformedBody):
        read_json(body, Body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_endless_nesting_is_too_large(opening):
    with pytest.raises(TooLarge):
        read_json(b'{"text":"a","more":{"x":' + opening * 100_000, Body)


def test_a_nul_escape_that_is_only_text_is_let_through():
    assert read_json(b'{"text":"a\\\\u0000b"}', Body).text == "a\\u0000b"
