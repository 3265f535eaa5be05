"""Where in a body a fault is, as a JSON pointer (RFC 6901)."""

import re
from collections.abc import Iterator
from typing import Any, Final

_BEYOND: Final = 2**63
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<field>.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]")


def locate(message: str) -> tuple[str, str]:
    """The pointer and the bare text of a msgspec error: ``Expected `int` - at `$.a[0]` `` gives ``/a/0``.

    A value under a key of the caller's own choosing is not named by msgspec: the pointer then ends above it. A missing
    or unknown field is pointed at itself.
    """
    match = _AT.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    steps = [step["name"] or step["index"] for step in _STEP.finditer(path.split("[...]")[0])]
    if field := _FIELD.match(what):
        steps.append(field["field"])
    return "".join("/" + escape(step) for step in steps), what


def escape(step: str) -> str:
    """One step of a pointer, spelled as RFC 6901 wants it."""
    return step.replace("~", "~0").replace("/", "~1")


def unstorable(value: Any) -> str | None:
    """The pointer of the first string that no database keeps: one with a NUL or half a surrogate pair; None if none."""
    return next((pointer for pointer, leaf in _leaves(value) if isinstance(leaf, str) and not _storable(leaf)), None)


def outsized(value: Any) -> str | None:
    """The pointer of the first number that does not fit 64 bits as an integer; None if none.

    A float counts too: PostgreSQL gives 1e20 back as an integer.
    """
    return next(
        (pointer for pointer, leaf in _leaves(value) if isinstance(leaf, int | float) and abs(leaf) >= _BEYOND), None
    )


def depth(value: Any) -> int:
    """How deep objects and lists nest: 0 for a scalar, 1 for a flat object."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return deepest


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    # A stack, not recursion: the value may nest as deep as its parser let it.
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting.extend((f"{pointer}/{index}", child) for index, child in reversed(list(enumerate(item))))
        elif isinstance(item, dict):
            # A key that cannot be kept cannot be spelled in a pointer either: its object is named instead.
            yield from ((pointer, key) for key in item)
            waiting.extend((f"{pointer}/{escape(str(key))}", child) for key, child in reversed(item.items()))
        else:
            yield pointer, item


def _storable(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
