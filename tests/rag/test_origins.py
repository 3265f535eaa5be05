import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import InvalidInput
from rag.origins import is_origin, parse_origin, parse_origins

WRONG = [
    "", "null", "NULL", "*", "https://*", "https://*.shop.example", "shop.example", "//shop.example", "https://",
    "https://shop.example/", "https://shop.example/path", "https://shop.example?x", "https://user@shop.example",
    "ftp://shop.example", "file://", "https://shop.example:", "https://shop.example:99999", "https://shop .example",
    " https://shop.example", "https://shop.example\n", "https://shöp.example", "https://-a", "https://a.",
    "chrome-extension://abc", "https://" + "a" * 400,
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_no_browser_sends_is_no_origin(text):
    with pytest.raises(InvalidInput):
        parse_origin(text)
    assert not is_origin(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://shop.example:08443", "https://shop.example:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_spelled_as_browsers_do(text, canonical):
    assert parse_origin(text) == canonical
    assert parse_origin(canonical) == canonical
    assert is_origin(canonical)
    assert is_origin(text) == (text == canonical)


def test_each_origin_stands_once_and_a_wrong_one_is_pointed_at():
    assert parse_origins(["https://b", "https://a", "HTTPS://B:443"]) == ("https://a", "https://b")
    with pytest.raises(InvalidInput) as error:
        parse_origins(["https://a", "null"])
    assert error.value.pointer == "/origins/1"


@given(st.text(max_size=40))
def test_no_text_is_anything_else_than_an_origin_or_refused(text):
    try:
        found = parse_origin(text)
    except InvalidInput:
        return
    assert parse_origin(found) == found
    assert found.startswith(("http://", "https://"))
