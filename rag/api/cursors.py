"""Cursors: where a list goes on, opaque to the caller and checked when it comes back."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from rag.api.pointers import unstorable
from rag.errors import InvalidInput

T = TypeVar("T")
K = TypeVar("K")


def encode_cursor(key: object) -> str:
    """The cursor of a row's sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode("ascii").rstrip("=")


def decode_cursor(cursor: str | None, kind: type[K]) -> K | None:
    """The sort key in a cursor, None for the beginning; raises `InvalidInput` for one that we did not make."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(raw, type=kind)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _not_ours() from error
    if unstorable(msgspec.to_builtins(key)) is not None:
        raise _not_ours()
    return key


def cut(rows: Sequence[T], limit: int, key: Callable[[T], object]) -> tuple[list[T], bool, str | None]:
    """The page, whether there is more, and the cursor to it; `rows` is one more than the page when there is."""
    page = list(rows[:limit])
    more = len(rows) > limit
    return page, more, encode_cursor(key(page[-1])) if more else None


def _not_ours() -> InvalidInput:
    return InvalidInput("use the next_cursor of an earlier page of this list", pointer="/cursor")
