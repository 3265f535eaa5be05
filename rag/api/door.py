"""The outermost layer: every request gets an id, a log line, its metrics and the security headers."""

import asyncio
import re
import time
from typing import Any, Final, cast
from urllib.parse import quote
from uuid import uuid4

from litestar import Request
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from rag.api.cors import cors_headers
from rag.api.paths import routable
from rag.api.problems import answer_problem
from rag.api.refusals import count_refusal
from rag.api.visits import Visit, begin_visit
from rag.errors import TooSlow
from rag.telemetry import REQUEST_SECONDS, REQUESTS, log
from rag.tenancy import Principal

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


async def admit(app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, *, body_timeout_s: float) -> None:
    """Let a request in, and see its answer out; a body that takes longer than `body_timeout_s` is not waited for."""
    started = time.perf_counter()
    visit = Visit(request_id=_request_id(scope), path=_reference(scope))
    begin_visit(scope, visit)
    clear_contextvars()
    bind_contextvars(request_id=visit.request_id)

    async def hear() -> Any:
        message = await _in_time(receive, None if visit.heard else started + body_timeout_s)
        visit.heard = visit.heard or not message.get("more_body", False)
        visit.gone = visit.gone or message["type"] == "http.disconnect"
        return message

    async def speak(message: Message) -> None:
        if message["type"] == "http.response.start":
            visit.status = message["status"]
            message["headers"] = [*_with_our_headers(list(message.get("headers", [])), visit), *cors_headers(scope)]
        await send(message)

    try:
        await _answer(app, scope, hear, speak, visit)
    finally:
        _record(scope, visit, time.perf_counter() - started)
        clear_contextvars()


async def _answer(app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, visit: Visit) -> None:
    try:
        if raw_path := scope.get("raw_path"):
            scope["path"] = routable(raw_path)
        await app(scope, receive, send)
    except Exception as error:
        if visit.status:  # half of an answer is out: only the server can break the connection off
            raise
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        response = answer_problem(request, error).to_asgi_response(app=None, request=request)
        await response(scope, receive, send)


async def _in_time(receive: Receive, deadline: float | None) -> ReceiveMessage:
    # A body that comes a byte a minute would hold its connection for as long as it likes.
    try:
        async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.perf_counter())):
            return await receive()
    except TimeoutError as error:
        raise TooSlow("the body did not arrive in time") from error


def _request_id(scope: HTTPScope) -> str:
    sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return sent.decode("ascii") if _REQUEST_ID.fullmatch(sent) else uuid4().hex


def _reference(scope: HTTPScope) -> str:
    raw_path = scope.get("raw_path", b"").split(b"?", 1)[0]
    return quote(raw_path or scope["path"], safe="/%:@!$&'()*+,;=-._~")


def _with_our_headers(headers: list[tuple[bytes, bytes]], visit: Visit) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    headers.extend((name, value) for name, value in _HEADERS if name not in there)
    headers.extend(visit.headers)
    headers.append((b"x-request-id", visit.request_id.encode("ascii")))
    return headers


def _record(scope: HTTPScope, visit: Visit, seconds: float) -> None:
    # The route's template, never the path: a path holds names, and would be a time series each.
    route = str(scope.get("path_template") or "unmatched")
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    REQUESTS.labels(method, route, str(visit.status)).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    count_refusal(scope, visit, method=method, route=route)
    who = cast("dict[str, Any]", scope).get("user")
    log.info(
        "request",
        method=method,
        route=route,
        status=visit.status,
        ms=round(seconds * 1000, 2),
        tenant=who.slug if isinstance(who, Principal) else None,
        key_id=str(who.key_id) if who else None,
        request_id=visit.request_id,
        outcome=visit.code,
    )
