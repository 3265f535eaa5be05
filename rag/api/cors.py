"""Pages of other origins: which of them a browser lets read our answers. Each key says it for itself; no star anywhere.

A preflight carries no key. It is answered for an origin that some live publishable key lists, and only where such keys
may go; the answer itself names the origin only when the key that was sent lists it. Secret keys, operator keys and
people's tokens list none, so that no page of another origin can use one.
"""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from rag.tenancy import Principal

_READABLE: Final = b"Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
_ALLOWED: Final = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, X-Request-ID"),
    (b"access-control-max-age", b"600"),
    (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
)
_OPEN: Final = "cloister.open_to_pages"


class Preflight(ASGIMiddleware):
    """Answers the question that a browser asks before it lets a page of another origin call us."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Allow it for a listed origin; all else goes on, to be answered as any request without a key."""
        origin = _asking(scope)
        if origin is None or not await scope["litestar_app"].state.services.authenticator.lists_origin(origin):
            await next_app(scope, receive, send)
            return
        allowed = [(b"access-control-allow-origin", origin.encode("latin-1")), *_ALLOWED]
        await send({"type": "http.response.start", "status": 204, "headers": allowed})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def origins_of(scope: Mapping[str, Any]) -> list[str]:
    """What stands in the `Origin` headers of a request; no browser sends more than one."""
    return _sent(scope, b"origin")


def cors_headers(scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """What an answer says to a browser: something only when the caller's own key lists the page's origin."""
    who = scope.get("user")
    sent = origins_of(scope)
    if not isinstance(who, Principal) or len(sent) != 1 or sent[0] not in who.origins:
        return []
    return [
        (b"access-control-allow-origin", sent[0].encode("latin-1")),
        (b"access-control-expose-headers", _READABLE),
        (b"vary", b"Origin"),
    ]


def _asking(scope: Mapping[str, Any]) -> str | None:
    """The origin that a preflight asks for, on a route that publishable keys may call with that method."""
    origins = origins_of(scope)
    wanted = _sent(scope, b"access-control-request-method")
    if scope["method"] != "OPTIONS" or len(origins) != 1 or len(wanted) != 1:
        return None
    return origins[0] if (scope["path_template"], wanted[0]) in _open_to_pages(scope["litestar_app"]) else None


def _sent(scope: Mapping[str, Any], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted]


def _open_to_pages(app: Litestar) -> frozenset[tuple[str, str]]:
    found: frozenset[tuple[str, str]] | None = app.state.get(_OPEN)
    if found is None:
        found = frozenset(
            (route.path_format, method)
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            if handler.opt.get("publishable")
            for method in handler.http_methods
        )
        app.state[_OPEN] = found
    return found
