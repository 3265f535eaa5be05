"""JSON bodies, read strictly: no unknown field, no string for a number, nothing that PostgreSQL cannot keep."""

import json
from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.typing import FieldDefinition

from rag.api.pointers import locate, unstorable
from rag.errors import InvalidInput, MalformedBody, TooLarge, Unsupported

T = TypeVar("T")

JSON = "application/json"


class StrictJson(AbstractDTO[Any]):
    """Decodes the `data` of a handler straight into its struct; litestar's own way would coerce "10" to 10."""

    @classmethod
    def create_for_field_definition(cls, *args: Any, **kwargs: Any) -> None:
        """Prepare nothing: the annotated struct is itself what travels."""

    def decode_bytes(self, value: bytes) -> Any:
        """The struct that the handler's `data` is annotated with."""
        connection = self.asgi_connection
        require_media_type(connection, JSON)  # type: ignore[arg-type]  # only requests have bodies
        field = connection.route_handler.parsed_data_field
        return read_json(value, field.annotation if field else Any)

    @classmethod
    def generate_field_definitions(cls, _model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Name no fields: there is no second model."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, _field_definition: FieldDefinition) -> bool:
        """Nest nothing: there is no second model."""
        return False


def require_media_type(request: Request[Any, Any, Any], *accepted: str) -> str:
    """The media type of the body, one of those accepted; raises `Unsupported`."""
    media_type = request.content_type[0].lower()
    if media_type not in accepted:
        raise Unsupported(f"send {' or '.join(accepted)}")
    return media_type


def read_json(body: bytes, kind: type[T]) -> T:
    """The value of a JSON text.

    Raises `MalformedBody` for what is not JSON, `TooLarge` for one nested beyond all reason, and `InvalidInput` that
    points at a field of the wrong type or at a string with a NUL or half a surrogate pair.
    """
    try:
        value = msgspec.json.decode(body, type=kind)
        if rb"\u0000" in body:
            _refuse_unstorable(msgspec.json.decode(body))
    except msgspec.ValidationError as error:
        pointer, message = locate(str(error))
        raise InvalidInput(message, pointer=pointer) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if rb"\ud" in body.lower():
            _refuse_unstorable(_lenient(body))
        raise MalformedBody("the body is not JSON in UTF-8") from error
    except RecursionError as error:
        raise TooLarge("the body nests too deep") from error
    return value


def _refuse_unstorable(value: Any) -> None:
    pointer = unstorable(value)
    if pointer is not None:
        raise InvalidInput("a string here has a NUL character or half a surrogate pair", pointer=pointer)


def _lenient(body: bytes) -> Any:
    # The standard library lets half a surrogate pair through, which is how it can be pointed at.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
