"""Browser origins, spelled as a browser spells them: `https://shop.example`, and no more than that."""

import re
from collections.abc import Iterable
from typing import Final

from rag.errors import InvalidInput

_SHAPE: Final = re.compile(r"(https?)://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_USUAL_PORTS: Final = {("http", 80), ("https", 443)}
_LENGTH: Final = 300
_HIGHEST_PORT: Final = 65_535


def parse_origin(text: str) -> str:
    """The origin as a browser sends it; raises `InvalidInput` for a path, a wildcard, `null` and the like."""
    found = _SHAPE.fullmatch(text.lower()) if len(text) <= _LENGTH else None
    if found is None:
        raise InvalidInput("an origin is a scheme and a host, such as https://shop.example, without a slash after it")
    scheme, host, port = found[1], found[2], int(found[3]) if found[3] else None
    if port is not None and port > _HIGHEST_PORT:
        raise InvalidInput("there is no such port")
    return f"{scheme}://{host}" if port is None or (scheme, port) in _USUAL_PORTS else f"{scheme}://{host}:{port}"


def is_origin(text: str) -> bool:
    """Whether this is an origin in the very spelling that a browser sends."""
    try:
        return parse_origin(text) == text
    except InvalidInput:
        return False


def parse_origins(texts: Iterable[str], *, pointer: str = "/origins") -> tuple[str, ...]:
    """Each origin once, sorted; raises `InvalidInput` that points at the one that is wrong."""
    found = set()
    for number, text in enumerate(texts):
        try:
            found.add(parse_origin(text))
        except InvalidInput as error:
            raise InvalidInput(error.message, pointer=f"{pointer}/{number}") from error
    return tuple(sorted(found))
