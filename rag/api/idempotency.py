"""Idempotency-Key: the same POST, sent again within a day, is answered again and not done again."""

import hashlib
import re
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from rag.api.body import JSON
from rag.api.visits import visit_of
from rag.domain import TenantId
from rag.errors import CloisterError, Conflict, InvalidInput, KeyReused, NotFound, RequestInProgress
from rag.store.database import Database
from rag.store.idempotency import Attempt, Reply, claim, finish, purge_expired, release
from rag.telemetry import IDEMPOTENT, log
from rag.tenancy import Operator, Principal

OPT: Final = "idempotency"
REPLAYED: Final[dict[str, Any]] = {OPT: "replayed"}  # its answer is kept, and given again
SHOWN_ONCE: Final[dict[str, Any]] = {OPT: "shown once"}  # its answer holds a secret, and is kept nowhere
EXEMPT: Final[dict[str, Any]] = {OPT: "exempt"}  # changes nothing and spends little, or is idempotent by itself

_HEADER: Final = b"idempotency-key"
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_POINTER: Final = "/Idempotency-Key"
_MAX_BODY_BYTES: Final = 262_144
_OPERATOR_PURGE: Final = 100


class Idempotency(ASGIMiddleware):
    """Answers the repetition of a request from what was kept of the first."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass on a request that is new; raises `KeyReused`, `RequestInProgress`, `Conflict` or `InvalidInput`."""
        mode = scope["route_handler"].opt.get(OPT)
        if mode not in {"replayed", "shown once"} or not any(name == _HEADER for name, _ in scope["headers"]):
            await next_app(scope, receive, send)
            return
        database: Database = scope["litestar_app"].state.services.database
        attempt = await _attempt(scope, Request(scope, receive, send))
        begun = await _begin(database, attempt, scope["user"])
        if isinstance(begun, Reply):
            await _replay(begun, mode, send)
        else:
            run = _Run(database, attempt, begun, keeps_body=mode == "replayed")
            await run.answer(scope, receive, send, next_app)


class _Run:
    """A request that holds its key, until its answer is kept or the key is let go."""

    def __init__(self, database: Database, attempt: Attempt, lease: UUID, *, keeps_body: bool) -> None:
        self._database = database
        self._attempt = attempt
        self._lease = lease
        self._keeps_body = keeps_body
        self._settled = False

    async def answer(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        start: HTTPResponseStartEvent | None = None

        async def speak(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # held back: the answer is kept before it is given
                return
            if start is not None and message["type"] == "http.response.body":
                whole = not message.get("more_body", False)
                await self._settle(_reply(scope, start, message.get("body", b"")) if whole else None)
                await send(start)
                start = None
            await send(message)

        try:
            await next_app(scope, receive, speak)
        finally:
            await self._settle(None)

    async def _settle(self, reply: Reply | None) -> None:
        """Keep what succeeded; whatever else came of the request, it may be sent again."""
        if self._settled:
            return
        self._settled = True
        try:
            if reply is None or not await self._keep(reply):
                async with self._database.tenant(self._attempt.tenant) as connection:
                    await release(connection, self._attempt, self._lease)
        except CloisterError as error:  # it is done, and its caller must hear so; the lease will end
            log.warning("idempotency_not_kept", error=error.code)

    async def _keep(self, reply: Reply) -> bool:
        kept = reply if self._keeps_body else msgspec.structs.replace(reply, body=None)
        try:
            async with self._database.tenant(self._attempt.tenant) as connection:
                await finish(connection, self._attempt, self._lease, kept)
        except NotFound:
            return False
        return True


async def _attempt(scope: Scope, request: Request[Any, Any, Any]) -> Attempt:
    sent = [value for name, value in scope["headers"] if name == _HEADER]
    if len(sent) != 1 or not _KEY.fullmatch(sent[0]):
        raise InvalidInput("send one key of 1 to 255 printable ASCII characters without space", pointer=_POINTER)
    body = await request.body()
    if body and request.content_type[0].lower() != JSON:
        raise InvalidInput(f"an Idempotency-Key goes with a body in {JSON}", pointer=_POINTER)
    who: Principal | Operator = scope["user"]
    return Attempt(
        tenant=who.tenant if isinstance(who, Principal) else TenantId(who.key_id),
        caller=hashlib.sha256(msgspec.msgpack.encode(who, order="deterministic")).digest(),
        key=sent[0].decode("ascii"),
        fingerprint=_fingerprint(scope, body),
    )


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    parts = [scope.get("method"), scope["path"], scope["query_string"], body]
    return hashlib.sha256(msgspec.msgpack.encode(parts)).digest()


async def _begin(database: Database, attempt: Attempt, who: Principal | Operator) -> UUID | Reply:
    try:
        async with database.tenant(attempt.tenant) as connection:
            if isinstance(who, Operator):  # a worker's purge goes from tenant to tenant
                await purge_expired(connection, attempt.tenant, _OPERATOR_PURGE)
            begun = await claim(connection, attempt, who if isinstance(who, Principal) else None)
    except (KeyReused, RequestInProgress) as refusal:
        IDEMPOTENT.labels(refusal.code).inc()
        raise
    IDEMPOTENT.labels("replayed" if isinstance(begun, Reply) else "first").inc()
    return begun


def _reply(scope: Scope, start: HTTPResponseStartEvent, body: bytes) -> Reply | None:
    if not 200 <= start["status"] < 300:  # noqa: PLR2004
        return None
    sent = {name.lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Reply(
        status=start["status"],
        media_type=sent.get(b"content-type"),
        location=sent.get(b"location"),
        body=body if len(body) <= _MAX_BODY_BYTES else None,
        answer=visit_of(scope).answer,
    )


async def _replay(reply: Reply, mode: str, send: Send) -> None:
    if mode == "shown once":
        raise Conflict("this request was done before; the key that it made was shown then, and can be shown only once")
    if reply.body is None:
        raise Conflict("this request was done before; its answer was too large to be kept")
    headers = [(b"idempotency-replayed", b"true"), (b"content-length", str(len(reply.body)).encode("ascii"))]
    headers += [
        (name, value.encode("latin-1"))
        for name, value in ((b"content-type", reply.media_type), (b"location", reply.location))
        if value is not None
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
