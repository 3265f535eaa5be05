"""Metadata filters: Mongo's operators, compiled to one jsonpath predicate that PostgreSQL evaluates as a parameter.

No part of a filter becomes SQL. A value matches an array that contains it; a missing field matches `$ne`, `$nin`,
`$not` and `{"$exists": false}` and nothing else; a comparison between different types is false.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from rag.errors import InvalidInput

_DEPTH: Final = 8
_CLAUSES: Final = 200
_VALUES: Final = 500
_LENGTH: Final = 65_536
_COMPARISONS: Final = {"$eq": "==", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NEVER: Final = "(1 == 0)"
_ALWAYS: Final = "(1 == 1)"


def compile_filter(value: object, pointer: str = "/filters") -> str:
    """The jsonpath predicate of a filter; raises `InvalidInput` that points at the part that is wrong."""
    compiled = _Compiler().clause(value, pointer, depth=0)
    if len(compiled) > _LENGTH:
        raise InvalidInput("the filter is too long", pointer=pointer)
    return compiled


class _Compiler:
    """Counts clauses as it goes, so that a filter is bounded as a whole.

    Every comparison is an `exists($ ? (@.field == value))`: true or false and never unknown, as a bare comparison of
    different types would be; so a negation is a `!` and no more, however deep it stands.
    """

    def __init__(self) -> None:
        self._clauses = 0

    def clause(self, value: object, pointer: str, *, depth: int) -> str:
        if not isinstance(value, dict):
            raise InvalidInput('a filter is an object such as {"brand": "acme"}', pointer=pointer)
        self._go_deeper(depth, len(value), pointer)
        parts = [self._part(key, item, f"{pointer}/{_escape(key)}", depth) for key, item in value.items()]
        return _join(parts, "&&", empty=_ALWAYS)

    def _part(self, key: str, value: object, pointer: str, depth: int) -> str:
        if key in {"$and", "$or"}:
            if not isinstance(value, list):
                raise InvalidInput(f"{key} takes a list of filters", pointer=pointer)
            parts = [self.clause(item, f"{pointer}/{i}", depth=depth + 1) for i, item in enumerate(value)]
            return _join(parts, "&&" if key == "$and" else "||", empty=_ALWAYS if key == "$and" else _NEVER)
        if key == "$not":
            return _negate(self.clause(value, pointer, depth=depth + 1))
        if key.startswith("$"):
            raise InvalidInput(f"{key} is not an operator; there are $and, $or, $not", pointer=pointer)
        return self._field(_path(key, pointer), value, pointer, depth)

    def _field(self, path: str, value: object, pointer: str, depth: int) -> str:
        if not isinstance(value, dict):
            return _compare(path, "==", value, pointer)
        if not value:
            raise InvalidInput('give an operator such as {"$gte": 10}', pointer=pointer)
        self._go_deeper(depth, len(value), pointer)
        parts = [self._operator(path, key, item, f"{pointer}/{_escape(key)}", depth) for key, item in value.items()]
        return _join(parts, "&&", empty=_ALWAYS)

    def _operator(self, path: str, key: str, value: object, pointer: str, depth: int) -> str:
        if key in _COMPARISONS:
            return _compare(path, _COMPARISONS[key], value, pointer)
        others: dict[str, Callable[[], str]] = {
            "$ne": lambda: _negate(_compare(path, "==", value, pointer)),
            "$in": lambda: _one_of(path, value, pointer),
            "$nin": lambda: _negate(_one_of(path, value, pointer)),
            "$exists": lambda: _exists(path, value, pointer),
            "$not": lambda: _negate(self._field(path, value, pointer, depth + 1)),
        }
        if key not in others:
            known = ", ".join(sorted([*_COMPARISONS, *others]))
            raise InvalidInput(f"{key} is not an operator; there are {known}", pointer=pointer)
        if key == "$not" and not isinstance(value, dict):
            raise InvalidInput('$not takes operators, such as {"$gt": 3}', pointer=pointer)
        return others[key]()

    def _go_deeper(self, depth: int, clauses: int, pointer: str) -> None:
        if depth > _DEPTH:
            raise InvalidInput(f"a filter nests at most {_DEPTH} deep", pointer=pointer)
        self._clauses += max(1, clauses)
        if self._clauses > _CLAUSES:
            raise InvalidInput(f"a filter has at most {_CLAUSES} conditions", pointer=pointer)


def _path(key: str, pointer: str) -> str:
    # A dot steps into an object, as in Mongo.
    steps = key.split(".")
    if not key or "" in steps or len(key) > 256:  # noqa: PLR2004 - a bound on the length of a name
        raise InvalidInput("name a metadata field, with dots for nested ones", pointer=pointer)
    return "".join("." + _literal(step, pointer) for step in steps)


def _compare(path: str, operator: str, value: object, pointer: str) -> str:
    if not isinstance(value, str | int | float | bool | None):
        raise InvalidInput("compare with a string, a number, true, false or null", pointer=pointer)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput("not a finite number", pointer=pointer)
    if operator != "==" and (value is None or isinstance(value, bool)):
        raise InvalidInput("compare the order of strings or numbers", pointer=pointer)
    return f"exists($ ? (@{path} {operator} {_literal(value, pointer)}))"


def _one_of(path: str, value: object, pointer: str) -> str:
    if not isinstance(value, list):
        raise InvalidInput("takes a list of values", pointer=pointer)
    if len(value) > _VALUES:
        raise InvalidInput(f"takes at most {_VALUES} values", pointer=pointer)
    parts = [_compare(path, "==", item, f"{pointer}/{i}") for i, item in enumerate(value)]
    return _join(parts, "||", empty=_NEVER)


def _exists(path: str, value: object, pointer: str) -> str:
    if not isinstance(value, bool):
        raise InvalidInput("takes true or false", pointer=pointer)
    return f"exists(${path})" if value else f"(!exists(${path}))"


def _negate(predicate: str) -> str:
    return f"(!{predicate})" if predicate.startswith(("(", "exists")) else f"(!({predicate}))"


def _join(parts: list[str], operator: str, *, empty: str) -> str:
    return "(" + f" {operator} ".join(parts) + ")" if parts else empty


def _literal(value: str | float | bool | None, pointer: str) -> str:
    try:
        literal = msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a lone surrogate is no character", pointer=pointer) from error
    if isinstance(value, str) and "\0" in value:
        raise InvalidInput("a NUL cannot be stored, so it cannot be found", pointer=pointer)
    return literal


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
