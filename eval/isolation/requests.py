"""Requests for a route: its path filled from a thing's ids, its body made of the thing's words; and broken ones."""

import base64
from collections.abc import Iterator
from itertools import chain
from typing import Final

from eval.isolation.drives import FIXED, Body
from eval.isolation.estate import Thing
from eval.isolation.service import Ask, Operation, filled

_INJECTION: Final = "' OR tenant_id IS NOT NULL --"


def request(
    operation: Operation,
    thing: Thing,
    body: Body | None = None,
    *,
    raw: bytes | None = None,
    ids: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Ask:
    """The request for a thing; `ids` stand in for its own, and a query that the route does not know is left out."""
    return Ask(
        method=operation.method,
        path=filled(operation.path, {**ids_of(thing), **(ids or {})}),
        body=body.value if body else None,
        raw=raw,
        query={name: value for name, value in (query or {}).items() if name in operation.query_names},
        headers=headers or {},
    )


def broken(operation: Operation, target: Thing) -> Iterator[Ask]:
    """The same, broken in body, path and query."""
    word = target.document.title
    if operation.takes_body:
        field = next(iter(sorted(operation.fields)), "x")
        yield request(operation, target, raw=b"{")
        yield request(operation, target, raw=b"\xff\xfe" + word.encode())
        yield request(operation, target, Body({field: {"$near": word}}))
        yield request(operation, target, Body({"surprise": word}))
        yield request(operation, target, Body({field: word}), headers={"Content-Type": "text/plain"})
    for name in operation.path_names:
        value = ids_of(target)[name] + _INJECTION
        yield request(operation, target, Body({}) if operation.takes_body else None, ids={name: value})
    for name in sorted(operation.query_names):
        for value in ("0", word, base64.urlsafe_b64encode(f'"{word}"'.encode()).decode()):
            yield request(operation, target, query={name: value})


def ids_of(thing: Thing) -> dict[str, str]:
    """What fills the paths for a thing."""
    return dict(chain(FIXED.items(), thing.ids.items()))
