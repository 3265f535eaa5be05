"""A place in the tenant's lane for each request, from when its body is there until its answer begins."""

from typing import Any
from uuid import UUID

from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from rag.api.access import PUBLIC_OPT, check_access
from rag.limits.allowances import Allowances
from rag.limits.lanes import Lanes
from rag.tenancy import Operator, Principal


class KeepToLane(ASGIMiddleware):
    """Lets a tenant have so many requests under way, and no more."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC_OPT

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Wait for a place; raises `TooManyAtOnce` when none comes free in time, `Forbidden` before it waits."""
        services: Any = scope["litestar_app"].state.services
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        check_access(request, scope["route_handler"])
        if scope["route_handler"].parsed_data_field is not None:
            await request.body()  # read first: a sender that takes its time holds no place
        name, width = await _lane(services.allowances, scope["user"])
        if width:
            await _within(services.lanes, name, width, scope, receive, send, next_app)
        else:
            await next_app(scope, receive, send)


async def _lane(allowances: Allowances, who: Principal | Operator) -> tuple[UUID, int]:
    if isinstance(who, Operator):
        return who.key_id, allowances.default.concurrency
    return who.tenant, (await allowances.of(who.tenant)).concurrency


async def _within(
    lanes: Lanes, name: UUID, width: int, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp
) -> None:
    await lanes.enter(name, width)
    held = True

    def leave() -> None:
        nonlocal held
        if held:
            held = False
            lanes.leave(name)

    async def speak(message: Message) -> None:
        if message["type"] == "http.response.start":
            leave()  # the work is done; a reader that takes its time, or a stream of events, holds no place
        await send(message)

    try:
        await next_app(scope, receive, speak)
    finally:
        leave()
