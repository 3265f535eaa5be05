"""One request's passage through the door: what its log line, its metrics and its problem document say of it."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

_KEY: Final = "cloister.visit"


class Visit(msgspec.Struct, kw_only=True):
    """What is known of a request from its first byte; `heard`: its body is in. `code` is `ok` until it goes wrong.

    `headers` go out with the answer whatever becomes of it; `answer` is the kept answer that the response shows.
    """

    request_id: str
    path: str
    code: str = "ok"
    status: int = 0
    heard: bool = False
    gone: bool = False
    address: str | None = None
    headers: list[tuple[bytes, bytes]] = []
    answer: UUID | None = None


def begin_visit(scope: Any, visit: Visit) -> None:
    """Keep a visit with its request."""
    scope.setdefault("state", {})[_KEY] = visit


def visit_of(scope: Mapping[str, Any] | Any) -> Visit:
    """The visit of a request."""
    visit: Visit = scope["state"][_KEY]
    return visit
