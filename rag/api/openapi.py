"""The OpenAPI 3.1 description, made from the routes themselves.

msgspec writes the schemas: they are those that bodies are checked against, to the last bound, which litestar's own
generator does not reach.
"""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.routes import BaseRoute, HTTPRoute
from litestar.typing import FieldDefinition

from rag.api.access import PUBLIC, PUBLIC_OPT
from rag.api.body import JSON
from rag.api.idempotency import OPT
from rag.api.parameters import query_fields
from rag.api.problems import MEDIA_TYPE, Problem
from rag.api.schemas import DocumentRequest
from rag.api.submissions import MULTIPART
from rag.domain import Scope
from rag.store.ingestion import Receipt

_REFS: Final = "#/components/schemas/{name}"
_REQUEST_ID: Final = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
_RATE_LIMITS: Final = {
    name: {"$ref": f"#/components/headers/{name.replace('-', '')}"} for name in ("RateLimit", "RateLimit-Policy")
}
_TAGS: Final = {
    "search": "Passages for a query.",
    "answers": "Cited answers, or refusals.",
    "usage": "What was asked, and what it cost.",
    "collections": "Named sets of documents.",
    "documents": "What is searched.",
    "jobs": "What has been asked to be ingested.",
    "admin": "Tenants and keys, for operators.",
    "health": "For whoever runs the service.",
}
_FILE_FORM: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "properties": {
            "file": {"type": "string", "contentMediaType": "application/octet-stream"},
            "title": {"type": "string", "maxLength": 1000},
            "uri": {"type": "string", "maxLength": 4096},
            "metadata": {"type": "object"},
            "groups": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 128}, "maxItems": 64},
        },
        "required": ["file"],
        "additionalProperties": False,
    },
    "encoding": {"metadata": {"contentType": JSON}, "groups": {"contentType": JSON}},
}


@get("/schema/openapi.json", opt=PUBLIC)
async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The description of this service, as JSON."""
    settings = request.app.state.services.settings
    described = describe(request.app.routes, server=settings.public_url or "/")
    return Response(msgspec.json.encode(described), media_type=JSON)


def release() -> str:
    """The version of the installed package; `0+checkout` where it is run without being installed."""
    try:
        return version("cloister")
    except PackageNotFoundError:
        return "0+checkout"


def describe(routes: Iterable[BaseRoute], *, server: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of every route that has an operation id."""
    operations = list(_operations(routes))
    schemas, components = _schemas(handler for _, handler in operations)
    paths: dict[str, Any] = {}
    for route, handler in operations:
        for method in handler.http_methods:
            paths.setdefault(route.path_format, {})[method.lower()] = _operation(route, handler, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cloister",
            "version": release(),
            "summary": "Retrieval for RAG: tenants apart, every answer cited or refused.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_name(status): _problem(status) for status in _PROBLEMS},
            "headers": {
                "RequestId": {"schema": {"type": "string"}, "description": "Yours if it was sane, else a new one."},
                "RateLimit": {
                    "schema": {"type": "string"},
                    "description": "Units left (r) and seconds until all are back (t), for each policy.",
                },
                "RateLimitPolicy": {
                    "schema": {"type": "string"},
                    "description": "Units (q) in a window of seconds (w), for each policy.",
                },
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: clo_sk_… (secret), clo_pk_… (publishable), clo_op_… (operator). Or "
                    "a JWT: an identity provider's, or a widget token signed for a publishable key.",
                }
            },
        },
    }


def _operations(routes: Iterable[BaseRoute]) -> Iterator[tuple[HTTPRoute, HTTPRouteHandler]]:
    for route in sorted(routes, key=lambda route: route.path):
        if isinstance(route, HTTPRoute):
            handlers = sorted(route.route_handlers, key=lambda handler: sorted(handler.http_methods))
            yield from ((route, handler) for handler in handlers if handler.operation_id)


def _schemas(handlers: Iterable[HTTPRouteHandler]) -> tuple[dict[Any, Any], dict[str, Any]]:
    kinds: list[Any] = [Problem, DocumentRequest, Receipt]
    for handler in handlers:
        kinds.extend(kind for kind in (_body_type(handler), _answer_type(handler)) if kind not in {None, bytes, *kinds})
    found, components = msgspec.json.schema_components(kinds, ref_template=_REFS)
    components["DocumentRequest"]["oneOf"] = [{"required": [name]} for name in ("text", "markdown", "html")]
    return dict(zip(kinds, found, strict=True)), components


def _operation(route: HTTPRoute, handler: HTTPRouteHandler, schemas: dict[Any, Any]) -> dict[str, Any]:
    parameters = [*_path_parameters(route), *_query_parameters(handler), *_header_parameters(handler)]
    body = _body(handler, schemas)
    described: dict[str, Any] = {
        "operationId": handler.operation_id,
        "tags": handler.tags,
        "summary": handler.summary,
        "description": _description(handler),
        "responses": {**_answers(handler, schemas), **_errors(handler, parameters, body)},
    }
    if parameters:
        described["parameters"] = parameters
    if body:
        described["requestBody"] = {"required": True, "content": body}
    if handler.opt.get(PUBLIC_OPT):
        described["security"] = []
    return described


def _description(handler: HTTPRouteHandler) -> str:
    text = " ".join((handler.fn.__doc__ or "").split())
    scopes: tuple[Scope, ...] = handler.opt.get("scopes", ())
    if scopes:
        named = " or ".join(f"`{scope.value}`" for scope in scopes)
        kinds = "secret or publishable" if handler.opt.get("publishable") else "secret"
        return f"{text} Takes a {kinds} key with the scope {named}."
    return f"{text} Takes an operator key." if handler.opt.get("operator") else text


def _path_parameters(route: HTTPRoute) -> Iterator[dict[str, Any]]:
    for name, parameter in route.path_parameters.items():
        schema = {"type": "string", "format": "uuid"} if parameter.type is UUID else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(handler: HTTPRouteHandler) -> Iterator[dict[str, Any]]:
    for name, field, described in query_fields(handler):
        yield {
            "name": name,
            "in": "query",
            "required": False,
            "description": described.description,
            "schema": _query_schema(field, described),
        }


def _header_parameters(handler: HTTPRouteHandler) -> Iterator[dict[str, Any]]:
    if handler.opt.get(OPT) in {"replayed", "shown once"}:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same request with the same key, within a day, is answered again and not done again.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        }


def _query_schema(field: FieldDefinition, described: QueryParameter) -> dict[str, Any]:
    given = [inner.annotation for inner in field.inner_types if not inner.is_none_type]
    bounds = {
        "minimum": described.ge,
        "maximum": described.le,
        "maxLength": described.max_length,
        "default": field.default,
    }
    schema: dict[str, Any] = msgspec.json.schema(given[0] if field.is_optional else field.annotation)
    return schema | {name: bound for name, bound in bounds.items() if bound is not None}


def _body(handler: HTTPRouteHandler, schemas: dict[Any, Any]) -> dict[str, Any]:
    if handler.opt.get("body") == "submission":
        return {JSON: {"schema": schemas[DocumentRequest]}, MULTIPART: _FILE_FORM}
    kind = _body_type(handler)
    return {JSON: {"schema": schemas[kind]}} if kind else {}


def _answers(handler: HTTPRouteHandler, schemas: dict[Any, Any]) -> dict[str, Any]:
    kind = _answer_type(handler)
    content: dict[str, Any] = {}
    if kind is bytes:
        content = {str(handler.media_type): {"schema": {"type": "string"}}}
    elif kind is not None:
        content = {JSON: {"schema": schemas[kind]}}
    headers = _REQUEST_ID if handler.opt.get(PUBLIC_OPT) else {**_REQUEST_ID, **_RATE_LIMITS}
    answer: dict[str, Any] = {"description": HTTPStatus(handler.status_code).phrase, "headers": headers}
    if content:
        answer["content"] = content
    answers = {str(handler.status_code): answer}
    if handler.opt.get("unchanged"):
        answers = {"200": {**answer, "description": "Unchanged; it serves already"}, **answers}
    if handler.opt.get("location"):
        location = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}
        answers[str(handler.status_code)] = {**answer, "headers": {**headers, **location}}
    return answers


_PROBLEMS: Final = (400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 429, 500, 503)


def _errors(handler: HTTPRouteHandler, parameters: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    statuses: set[int] = {500, 503, *handler.opt.get("problems", ())}
    if not handler.opt.get(PUBLIC_OPT):
        statuses |= {401, 403, 410, 422, 429}
    if any(parameter["in"] == "path" for parameter in parameters):
        statuses |= {404, 422}
    if handler.opt.get(OPT) in {"replayed", "shown once"}:
        statuses.add(409)
    if body:
        statuses |= {400, 408, 413, 415, 422}
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in sorted(statuses)}


def _problem(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {**_REQUEST_ID, **(_RATE_LIMITS if status == HTTPStatus.TOO_MANY_REQUESTS else {})}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds."}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFS.format(name="Problem")}}},
    }


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


def _body_type(handler: HTTPRouteHandler) -> Any:
    field = handler.parsed_data_field
    return field.annotation if field else None


def _answer_type(handler: HTTPRouteHandler) -> Any:
    field = handler.parsed_return_field
    if field.is_subclass_of(Response):
        field = field.inner_types[0]
    return None if field.is_none_type else field.annotation


ROUTES: Final = (openapi_json,)
