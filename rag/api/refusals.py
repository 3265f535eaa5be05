"""Refused requests on their way to the audit trail: counted, never waited for."""

from typing import Any, Final, cast

from litestar.types import HTTPScope

from rag.api.auth import bearer
from rag.api.visits import Visit
from rag.audit import Actor, actor_of
from rag.errors import Unauthenticated
from rag.keys import digest_key
from rag.tenancy import Principal

_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403


def count_refusal(scope: HTTPScope, visit: Visit, *, method: str, route: str) -> None:
    """Count a request that was answered 401 with something that may once have been a key, or 403."""
    if visit.status not in {_UNAUTHENTICATED, _FORBIDDEN} or "litestar_app" not in scope:
        return
    incidents = scope["litestar_app"].state.services.incidents
    if visit.status == _UNAUTHENTICATED:
        digest = _digest(scope)
        if digest:
            incidents.unauthenticated(digest, Actor(type="key", ip=visit.address, request_id=visit.request_id))
        return
    who = cast("dict[str, Any]", scope).get("user")
    if who is not None:
        tenant = who.tenant if isinstance(who, Principal) else None
        actor = actor_of(who, ip=visit.address, request_id=visit.request_id)
        incidents.forbidden(tenant, actor, method=method, route=route)


def _digest(scope: HTTPScope) -> bytes | None:
    try:
        return digest_key(bearer(scope))
    except Unauthenticated:
        return None
