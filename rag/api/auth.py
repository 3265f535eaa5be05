"""From the Authorization header, and from nowhere else, to a tenant and a principal.

A publishable key is public, so it is bound to the browser origins that it lists. An `Origin` header proves a browser,
not a caller: what sends none is no browser, and is served.
"""

from typing import Any

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from rag.api.access import PUBLIC_OPT
from rag.api.addresses import Proxies
from rag.api.cors import origins_of
from rag.api.visits import visit_of
from rag.errors import Forbidden, Unauthenticated
from rag.tenancy import Operator, Principal


class Authenticate(ASGIMiddleware):
    """Lets nobody past without a valid key, except to routes that are marked public."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC_OPT

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Put the caller into the scope.

        Raises `Unauthenticated`, `TooManyFailures` before the key is looked up, and `Forbidden` in a foreign page.
        """
        services: Any = scope["litestar_app"].state.services
        address = self._proxies.client(scope)
        visit_of(scope).address = address
        token = bearer(scope)
        if services.authenticator.knows(token):
            who: Principal | Operator = await services.authenticator.identify(token)
        else:
            async with services.strangers.attempt(address):
                who = await services.authenticator.identify(token)
        scope["user"] = who
        scope["auth"] = None
        bind_contextvars(tenant=who.slug if isinstance(who, Principal) else None, key_id=str(who.key_id))
        _check_origin(who, scope)
        await next_app(scope, receive, send)


def _check_origin(who: Principal | Operator, scope: Scope) -> None:
    if not isinstance(who, Principal) or who.kind != "publishable":
        return
    if any(origin not in who.origins for origin in origins_of(scope)):
        raise Forbidden("this key is not for pages of this origin")


def bearer(scope: Scope) -> str:
    """The token of the one `Authorization: Bearer` header; raises `Unauthenticated`."""
    sent = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if len(sent) != 1:
        raise Unauthenticated("send a key: Authorization: Bearer clo_sk_…")
    scheme, _, token = sent[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send a key: Authorization: Bearer clo_sk_…")
    return token.strip()
