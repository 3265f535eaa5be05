"""Widget tokens: minted by a customer's back end for a publishable key, without asking us.

A token only ever narrows what its key may do: its origins, collections and groups are intersected with the key's, its
filter is added to each search's own. What it says is checked word for word, since a claim that is misspelt would
narrow nothing.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rag.errors import InvalidInput, Unauthenticated
from rag.jwt import LEEWAY_S
from rag.origins import parse_origins
from rag.retrieval.filters import compile_filter
from rag.tenancy import Principal

REQUIRED: Final = ("exp", "iat")
LONGEST_LIFE_S: Final = 86_400.0


class _Claims(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    exp: float
    iat: float
    nbf: float | UnsetType = UNSET
    jti: str | UnsetType = UNSET
    sub: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    origins: Annotated[list[str], Meta(max_length=50)] | UnsetType | None = UNSET  # null: none
    collections: Annotated[list[str], Meta(max_length=50)] | UnsetType = UNSET
    groups: Annotated[list[str], Meta(max_length=64)] | UnsetType = UNSET
    filter: dict[str, Any] | UnsetType = UNSET
    max_hits: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET


def narrowed(key: Principal, claims: dict[str, Any]) -> tuple[Principal, float]:
    """Whom a token stands for whose signature is good, and when it expires; raises `Unauthenticated` with the reason.

    `key` is what its publishable key stands for by itself.
    """
    known = _read(claims)
    if known.exp - known.iat > LONGEST_LIFE_S + LEEWAY_S:
        raise Unauthenticated("the token is not valid: it may live for 24 hours at most")
    groups = key.groups if known.groups is UNSET else tuple(sorted(set(known.groups)))
    if not set(groups) <= set(key.groups):
        raise Unauthenticated("the token is not valid: it names groups that its key does not have")
    who = msgspec.structs.replace(
        key,
        user=None if known.sub is UNSET else known.sub,
        groups=groups,
        origins=_origins(key, known),
        collections=_collections(key, known),
        filter=_filter(known),
        max_hits=None if known.max_hits is UNSET else known.max_hits,
    )
    return who, known.exp


def _read(claims: dict[str, Any]) -> _Claims:
    try:
        return msgspec.convert(claims, _Claims)
    except msgspec.ValidationError as error:
        raise Unauthenticated(f"the token is not valid: {error}") from error


def _origins(key: Principal, known: _Claims) -> tuple[str, ...]:
    if known.origins is UNSET:
        return key.origins
    try:
        wanted = parse_origins(known.origins or [])
    except InvalidInput as error:
        raise Unauthenticated(f"the token is not valid: {error.pointer}: {error.message}") from error
    return tuple(origin for origin in wanted if origin in key.origins)


def _collections(key: Principal, known: _Claims) -> tuple[str, ...] | None:
    if known.collections is UNSET:
        return key.collections
    wanted = sorted(set(known.collections))
    return tuple(name for name in wanted if key.collections is None or name in key.collections)


def _filter(known: _Claims) -> str | None:
    if known.filter is UNSET or not known.filter:
        return None
    try:
        return compile_filter(known.filter, "/filter")
    except InvalidInput as error:
        raise Unauthenticated(f"the token is not valid: {error.pointer}: {error.message}") from error
