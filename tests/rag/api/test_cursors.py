from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.api.cursors import cut, decode_cursor, encode_cursor
from rag.errors import InvalidInput


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_a_cursor_brings_its_key_back(key):
    cursor = encode_cursor(key)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(cursor, str) == key


def test_a_cursor_of_several_parts_brings_them_back_typed():
    key = (datetime.now(UTC), uuid4())
    assert decode_cursor(encode_cursor(key), tuple[datetime, type(key[1])]) == key


def test_no_cursor_is_the_beginning():
    assert decode_cursor(None, str) is None


@pytest.mark.parametrize(
    "cursor",
    ["", "!", "a", "zz", "\N{GRINNING FACE}", "W" * 4096] + [encode_cursor(key) for key in (3, "a\x00b", ["x"], None)],
)
def test_a_cursor_that_is_not_ours_is_refused_at_its_parameter(cursor):
    with pytest.raises(InvalidInput) as caught:
        decode_cursor(cursor, str)
    assert caught.value.pointer == "/cursor"


@given(st.lists(st.integers(), max_size=30), st.integers(1, 10))
def test_pages_cover_a_list_once_and_in_order(rows, limit):
    rows = sorted(set(rows))
    seen, cursor = [], None
    for _ in range(len(rows) + 1):
        after = decode_cursor(cursor, int)
        rest = [row for row in rows if after is None or row > after]
        page, more, cursor = cut(rest[: limit + 1], limit, lambda row: row)
        assert len(page) <= limit
        assert more == (cursor is not None)
        seen += page
        if not more:
            break
    assert seen == rows
