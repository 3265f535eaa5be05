"""Rate limits at the door: each request costs what its route says, and each answer says what is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from rag.api.access import PUBLIC_OPT, Cost
from rag.api.visits import visit_of
from rag.errors import RateLimited, TooManyFailures
from rag.limits.rates import UNKNOWN_IDS, Rates, Standing, Verdict

_NOT_FOUND: Final = 404
_WINDOW_S: Final = 60


class RateLimit(ASGIMiddleware):
    """Charges the tenant, the key and the user for a request before anything is done for it."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC_OPT

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Let the request on, or raise `RateLimited`; a key that names what there is not is told so once too often."""
        rates: Rates = scope["litestar_app"].state.services.rates
        who: Any = scope["user"]
        visit = visit_of(scope)
        names_an_id = bool(scope["path_params"])
        cost: int = scope["route_handler"].opt.get("cost", Cost.READ)
        verdict = await rates.spend(who, cost, names_an_id=names_an_id)
        visit.headers.extend(headers(verdict))
        if verdict.refusal:
            raise _refusal(verdict.refusal)
        await next_app(scope, receive, send)
        if names_an_id and visit.status == _NOT_FOUND:
            await rates.note_unknown_id(who)


def headers(verdict: Verdict) -> Iterator[tuple[bytes, bytes]]:
    """`RateLimit-Policy` and `RateLimit`, structured lists of every policy that was asked; none without a policy."""
    if verdict.standings:
        policies = (f'"{s.policy}";q={s.quota};w={_WINDOW_S}' for s in verdict.standings)
        levels = (f'"{s.policy}";r={s.level.remaining};t={math.ceil(s.level.full_in_s)}' for s in verdict.standings)
        yield b"ratelimit-policy", ", ".join(policies).encode("ascii")
        yield b"ratelimit", ", ".join(levels).encode("ascii")


def _refusal(standing: Standing) -> RateLimited:
    wait = standing.level.retry_after_s
    if standing.policy == UNKNOWN_IDS:
        return TooManyFailures("this key asked for too many things that do not exist", retry_after=wait)
    whose = f"this {standing.policy}"
    return RateLimited(f"{whose} has used up its {standing.quota} units a minute", retry_after=wait)
