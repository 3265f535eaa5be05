"""What may stand in a query string: the route's own parameters, each once, and nothing else."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition

from rag.api.access import PUBLIC_OPT
from rag.errors import InvalidInput


def query_fields(handler: BaseRouteHandler) -> Iterator[tuple[str, FieldDefinition, QueryParameter]]:
    """Each parameter that a route takes in its query string."""
    for name, field in handler.parsed_fn_signature.parameters.items():
        described = field.kwarg_definition
        if isinstance(described, QueryParameter):
            yield name, field, described


def check_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise `InvalidInput` for a parameter that the route does not take, or that is given twice.

    A misspelt one would otherwise be answered as if it had not been sent.
    """
    if handler.opt.get(PUBLIC_OPT) or not connection.scope.get("query_string"):
        return
    known = {name for name, _, _ in query_fields(handler)}
    for name, times in Counter(name for name, _ in connection.query_params.multi_items()).items():
        if name not in known:
            raise InvalidInput(f"there is no parameter '{name}' here", pointer=f"/{name}")
        if times > 1:
            raise InvalidInput("given more than once", pointer=f"/{name}")
