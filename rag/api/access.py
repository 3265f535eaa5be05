"""Who may call what: each route says it in its `opt`, and a route that says nothing is closed to everyone."""

from enum import IntEnum
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from rag.domain import Scope
from rag.errors import Forbidden
from rag.tenancy import Operator, Principal

PUBLIC_OPT: Final = "exclude_from_auth"
PUBLIC: Final[dict[str, Any]] = {PUBLIC_OPT: True}
OPERATOR: Final[dict[str, Any]] = {"operator": True}


class Cost(IntEnum):
    """Units that a call costs, of those that a tenant, a key and a user have each minute."""

    READ = 1
    SEARCH = 5
    WRITE = 10
    ANSWER = 25
    BULK = 50


def allow(*scopes: Scope, publishable: bool = False, cost: Cost = Cost.READ) -> dict[str, Any]:
    """Open a route to a tenant's secret keys with any of these scopes, and to publishable ones if it says so."""
    return {"scopes": scopes, "publishable": publishable, "cost": cost}


def check_access(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise `Forbidden` unless the route is open to the caller."""
    if handler.opt.get(PUBLIC_OPT) or connection.scope.get("method") == "OPTIONS":
        return
    who = connection.user
    if handler.opt.get("operator"):
        if not isinstance(who, Operator):
            raise Forbidden("this takes an operator key")
        return
    if not isinstance(who, Principal):
        raise Forbidden("an operator key manages tenants and keys; use a key of the tenant here")
    if who.kind == "publishable" and not handler.opt.get("publishable"):
        raise Forbidden("a publishable key can search and nothing else")
    scopes: tuple[Scope, ...] = handler.opt.get("scopes", ())
    if who.scopes.isdisjoint(scopes):
        needed = " or ".join(f"'{scope.value}'" for scope in scopes)
        raise Forbidden(f"this key lacks the scope {needed}")
