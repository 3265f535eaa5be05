"""The running service as a caller meets it: requests out, replies in, and its own description of its routes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from rag.errors import SetupError, Unavailable

_TIMEOUT_S: Final = 60.0
_PATIENCE: Final = 8  # times that a request is sent again after "too many" or "not now"
_LONGEST_WAIT_S: Final = 30.0
_TOO_MANY: Final = 429
_NOT_NOW: Final = 503
_STREAM_S: Final = 5.0
_STREAM_BYTES: Final = 1_000_000
_FAILED: Final = 400
EVENTS: Final = "text/event-stream"


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request; `body` goes as JSON, `raw` as it stands."""

    method: str
    path: str
    query: dict[str, str] = {}
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = {}

    @property
    def content(self) -> bytes | None:
        """The bytes of the body."""
        return self.raw if self.raw is not None or self.body is None else msgspec.json.encode(self.body)

    @property
    def bytes(self) -> bytes:
        """All that the caller itself said."""
        said = [self.path, urlencode(self.query), *self.headers.values()]
        return "\n".join(said).encode() + (self.content or b"")

    def __str__(self) -> str:
        return f"{self.method} {self.path}{'?' if self.query else ''}{urlencode(self.query)}"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def bytes(self) -> bytes:
        """All that the caller is told."""
        return "\n".join(f"{name}: {value}" for name, value in self.headers.items()).encode() + b"\n\n" + self.body

    @property
    def failed(self) -> bool:
        """Whether it is a problem instead of an answer."""
        return self.status >= _FAILED

    def json(self) -> Any:
        """The body decoded; None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A route as the service describes it."""

    id: str
    method: str
    path: str
    tag: str
    path_names: list[str]
    query_names: frozenset[str]
    fields: frozenset[str]  # of a JSON body
    takes_body: bool
    streams: bool


class Service:
    """A client of a running Cloister; it waits as long as the service tells it to."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.url = str(client.base_url).rstrip("/")

    async def send(self, ask: Ask, key: str | None, *, patient: bool = True) -> Reply:
        """Send a request with a key, or none; a patient caller sends it again after the time it was told to wait."""
        for _ in range(_PATIENCE if patient else 0):
            reply = await self._send(ask, key)
            if reply.status not in {_TOO_MANY, _NOT_NOW} or "retry-after" not in reply.headers:
                return reply
            await asyncio.sleep(min(float(reply.headers["retry-after"]), _LONGEST_WAIT_S))
        return await self._send(ask, key)

    async def listen(self, ask: Ask, key: str | None) -> Reply:
        """What a stream of events says, until it ends or for a few seconds."""
        request = self._request(msgspec.structs.replace(ask, headers={"Accept": EVENTS, **ask.headers}), key)
        received = bytearray()
        response = await self._client.send(request, stream=True)
        try:
            async with asyncio.timeout(_STREAM_S):
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > _STREAM_BYTES:
                        break
        except TimeoutError:
            pass
        finally:
            await response.aclose()
        return Reply(status=response.status_code, headers=dict(response.headers), body=bytes(received))

    async def operations(self) -> list[Operation]:
        """Every operation of the service's own OpenAPI document."""
        reply = await self.send(Ask(method="GET", path="/schema/openapi.json"), None)
        spec = reply.json()
        if reply.failed or not isinstance(spec, dict) or "paths" not in spec:
            raise SetupError(f"{self.url}/schema/openapi.json does not describe a Cloister")
        return [
            _operation(spec, path, method, described)
            for path, methods in spec["paths"].items()
            for method, described in methods.items()
            if isinstance(described, dict) and "responses" in described
        ]

    async def _send(self, ask: Ask, key: str | None) -> Reply:
        try:
            response = await self._client.send(self._request(ask, key))
        except httpx.TransportError as error:
            raise Unavailable(f"{self.url} does not answer: {type(error).__name__}") from error
        return Reply(status=response.status_code, headers=dict(response.headers), body=response.content)

    def _request(self, ask: Ask, key: str | None) -> httpx.Request:
        headers = {**({"Authorization": f"Bearer {key}"} if key is not None else {}), **ask.headers}
        if ask.content is not None:
            headers.setdefault("Content-Type", "application/json")
        return self._client.build_request(
            ask.method, ask.path, params=ask.query or None, content=ask.content, headers=headers
        )


@asynccontextmanager
async def service_at(url: str) -> AsyncIterator[Service]:
    """A client of the service at an address; raises `SetupError` when none answers there."""
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S) as client:
        service = Service(client)
        try:
            await service.send(Ask(method="GET", path="/health/live"), None)
        except Unavailable as error:
            raise SetupError(f"no service answers at {url}: start it, or give its address with --url") from error
        yield service


def filled(template: str, values: Mapping[str, str]) -> str:
    """A path with its parameters in place; raises `KeyError` for one that has no value."""
    return template.format_map({name: quote(value, safe="") for name, value in values.items()})


def _operation(spec: dict[str, Any], path: str, method: str, described: dict[str, Any]) -> Operation:
    parameters = described.get("parameters", [])
    body = described.get("requestBody", {}).get("content", {})
    answers = described["responses"].values()
    return Operation(
        id=described.get("operationId", f"{method} {path}"),
        method=method.upper(),
        path=path,
        tag=next(iter(described.get("tags", [])), "untagged"),
        path_names=[found["name"] for found in parameters if found["in"] == "path"],
        query_names=frozenset(found["name"] for found in parameters if found["in"] == "query"),
        fields=_fields(spec, body.get("application/json", {}).get("schema", {})),
        takes_body=bool(body),
        streams=any(EVENTS in answer.get("content", {}) for answer in answers),
    )


def _fields(spec: dict[str, Any], schema: dict[str, Any]) -> frozenset[str]:
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    return frozenset(spec["components"]["schemas"].get(name, schema).get("properties", {}))
