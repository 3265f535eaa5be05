"""/health: is the process alive, and can it serve."""

from typing import Any, Final

from litestar import Request, get

from rag.api.access import PUBLIC
from rag.api.openapi import release
from rag.api.schemas import Alive, Readiness
from rag.errors import Unavailable

_DISPENSABLE: Final = frozenset({"cache"})  # without it every search is made anew, and none fails


@get("/health/live", operation_id="live", tags=["health"], summary="Is the process alive?", opt=PUBLIC)
async def live() -> Alive:
    """The process answers; nothing else is asked."""
    return Alive()


@get(
    "/health/ready",
    operation_id="ready",
    tags=["health"],
    summary="Can requests be served?",
    opt=PUBLIC,
)
async def ready(request: Request[Any, Any, Any]) -> Readiness:
    """PostgreSQL and the encoder answer; without a cache it is `degraded`, and still a 200."""
    checks: dict[str, str] = await request.app.state.services.ping()
    failing = {name for name, state in checks.items() if state != "ok"}
    if missing := sorted(failing - _DISPENSABLE):
        raise Unavailable("; ".join(f"{name}: {checks[name]}" for name in missing), retry_after=2.0)
    return Readiness(status="degraded" if failing else "ok", version=release(), checks=checks)


ROUTES: Final = (live, ready)
