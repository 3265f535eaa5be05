"""Whatever goes wrong, as one shape: a problem document (RFC 9457) whose `code` is the name of an error in the tree."""

import math
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException

from rag.api.visits import visit_of
from rag.errors import (
    ApprovalRequired,
    CloisterError,
    Deferred,
    Forbidden,
    InvalidInput,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from rag.telemetry import log

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "/problems/{code}"  # relative to the service, which answers there
_UNEXPECTED: Final = "something went wrong here; the request id finds it in the log"
_BY_STATUS: Final[dict[int, type[Refused]]] = {
    400: MalformedBody,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
    415: Unsupported,
}
_WORDS: Final[dict[int, str]] = {
    404: "there is nothing at this path",
    405: "this path does not take this method",
    413: "the body is larger than this path takes",
}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong; `pointer` is a JSON pointer into the body, or `/` and the name of a parameter."""

    pointer: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457); `code` is what a program should look at, `detail` is for a person."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[Fault] | msgspec.UnsetType = msgspec.UNSET
    approval: UUID | msgspec.UnsetType = msgspec.UNSET


def answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The response to an error of any kind; an unexpected one is logged and keeps its words to itself."""
    visit = visit_of(request.scope)
    known = _understood(error, routed="route_handler" in request.scope, gone=visit.gone)
    if known.status >= 500 and not isinstance(known, Unavailable):  # noqa: PLR2004
        log.error("request_failed", error=type(error).__qualname__, exc_info=error)
    visit.code = known.code
    problem = Problem(
        type=TYPE.format(code=known.code),
        title=known.title,
        status=known.status,
        detail=_detail(known),
        instance=visit.path,
        code=known.code,
        request_id=visit.request_id,
        errors=[Fault(known.pointer, known.message)] if isinstance(known, InvalidInput) else msgspec.UNSET,
        approval=(known.approval if isinstance(known, ApprovalRequired) else None) or msgspec.UNSET,
    )
    return Response(
        content=msgspec.json.encode(problem),
        status_code=known.status,
        media_type=MEDIA_TYPE,
        headers=_headers(known, error),
    )


def _understood(error: Exception, *, routed: bool, gone: bool) -> CloisterError:
    if isinstance(error, CloisterError):
        return error
    if gone and isinstance(error, InternalServerException):  # litestar's word for it
        return MalformedBody("the connection broke off within the body")
    if isinstance(error, ValidationException):
        return _invalid_parameter(error)
    if isinstance(error, HTTPException) and error.status_code < 500:  # noqa: PLR2004
        kind = _BY_STATUS.get(error.status_code, Refused)
        if kind is MalformedBody and not routed:  # nobody has looked at a body: it is the Host header
            kind = Refused
        return kind(_WORDS.get(error.status_code, error.detail))
    return CloisterError(_UNEXPECTED)


def _invalid_parameter(error: ValidationException) -> CloisterError:
    faults = error.extra if isinstance(error.extra, list) else []
    first = faults[0] if faults and isinstance(faults[0], dict) else {}
    name = str(first.get("key", ""))
    if not name or name == "data":
        return MalformedBody("a body is needed" if name else error.detail)
    return InvalidInput(str(first.get("message", error.detail)), pointer=f"/{name}")


def _detail(error: CloisterError) -> str:
    return error.message if error.status < 500 or isinstance(error, Unavailable) else _UNEXPECTED  # noqa: PLR2004


def _headers(known: CloisterError, error: Exception) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException) and error.headers:
        headers |= {name.title(): value for name, value in error.headers.items() if name.lower() == "allow"}
    if isinstance(known, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="cloister"'
    if isinstance(known, Unavailable | Deferred):
        headers["Retry-After"] = str(max(1, math.ceil(known.retry_after)))
    return headers
