"""Path segments: an external id may hold any character, a slash too, when it is percent-encoded.

A server hands on a path that is already decoded, in which `a%2Fb` has become two segments. So the path is decoded
here from its raw form, segment by segment, with `/` and `%` kept encoded until the route is found.
"""

from urllib.parse import unquote_to_bytes

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from rag.errors import InvalidInput


def routable(raw_path: bytes) -> str:
    """The path to route by; raises `InvalidInput` when it is not UTF-8 or has a NUL character."""
    segments = raw_path.split(b"?", 1)[0].split(b"/")
    try:
        decoded = [unquote_to_bytes(segment).decode("utf-8") for segment in segments]
    except UnicodeDecodeError as error:
        raise InvalidInput("the path is not UTF-8") from error
    if any("\x00" in segment for segment in decoded):
        raise InvalidInput("the path has a NUL character")
    return "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in decoded)


def restored(segment: str) -> str:
    """The segment as the caller meant it."""
    return segment.replace("%2F", "/").replace("%25", "%")


class RestoredSegments(ASGIMiddleware):
    """Gives handlers their path parameters as the caller meant them."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Decode what routing had to keep encoded."""
        # A new dict: the router caches the one that it hands out.
        scope["path_params"] = {
            name: restored(value) if isinstance(value, str) else value for name, value in scope["path_params"].items()
        }
        await next_app(scope, receive, send)
