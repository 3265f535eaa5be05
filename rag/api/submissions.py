"""A document as it is handed in: as JSON, or as a file in a multipart form."""

from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import FormMultiDict, UploadFile

from rag.api.body import JSON, read_json, require_media_type
from rag.api.pointers import locate, unstorable
from rag.api.schemas import DocumentFields, DocumentRequest
from rag.errors import InvalidInput, MalformedBody, TooLarge
from rag.store.ingestion import Submission

MULTIPART: Final = "multipart/form-data"
EXTERNAL_ID_LENGTH: Final = 512
_FILENAME_LENGTH: Final = 255
_UNTYPED: Final = "application/octet-stream"  # says nothing: left to be sniffed


async def read_submission(request: Request[Any, Any, Any], external_id: str, *, max_bytes: int) -> Submission:
    """The document in a request; raises `TooLarge` when its content is over `max_bytes`."""
    if len(external_id) > EXTERNAL_ID_LENGTH:
        raise InvalidInput(f"an external id has at most {EXTERNAL_ID_LENGTH} characters", pointer="/external_id")
    if require_media_type(request, JSON, MULTIPART) == JSON:
        submission = _from_json(external_id, await request.body())
    else:
        submission = await _from_form(external_id, await _form(request))
    if len(submission.body) > max_bytes:
        raise TooLarge(f"a document has at most {max_bytes} bytes")
    return submission


def _from_json(external_id: str, body: bytes) -> Submission:
    sent = read_json(body, DocumentRequest)
    media_type, content = sent.content()
    return _submission(external_id, sent, content.encode(), media_type)


async def _from_form(external_id: str, form: FormMultiDict) -> Submission:
    names = [name for name, _ in form.multi_items()]
    if len(set(names)) != len(names):
        raise InvalidInput("each field stands once")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidInput("send the document as a file in the field 'file'", pointer="/file")
    fields = _fields({name: value for name, value in form.multi_items() if name != "file"})
    filename = file.filename[-_FILENAME_LENGTH:]
    if unstorable(filename) is not None:
        raise InvalidInput("the file's name has a NUL character", pointer="/file")
    return _submission(external_id, fields, await file.read(), _declared_type(file), filename)


def _declared_type(file: UploadFile) -> str | None:
    # litestar fills in text/plain where nothing is declared, so the part's own header is looked at.
    headers = {name.lower(): value for name, value in file.headers.items()}
    declared = headers.get("content-type", _UNTYPED).split(";")[0].strip().lower()
    return None if declared == _UNTYPED else declared


async def _form(request: Request[Any, Any, Any]) -> FormMultiDict:
    try:
        return await request.form()
    except (LookupError, UnicodeError) as error:  # a charset that does not exist, or text that is not in it
        raise MalformedBody("a field of the form is not text in its charset") from error


def _fields(sent: dict[str, Any]) -> DocumentFields:
    values = {name: _json_field(name, text) if name in {"metadata", "groups"} else text for name, text in sent.items()}
    pointer = unstorable(values)
    if pointer is not None:
        raise InvalidInput("a string here has a NUL character or half a surrogate pair", pointer=pointer)
    try:
        return msgspec.convert(values, DocumentFields)
    except msgspec.ValidationError as error:
        pointer, message = locate(str(error))
        raise InvalidInput(message, pointer=pointer) from error


def _json_field(name: str, text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, TypeError, RecursionError) as error:
        raise InvalidInput("this field holds JSON", pointer=f"/{name}") from error


def _submission(
    external_id: str, fields: DocumentFields, body: bytes, media_type: str | None, filename: str | None = None
) -> Submission:
    return Submission(
        external_id=external_id,
        body=body,
        media_type=media_type,
        filename=filename,
        title=fields.title,
        uri=fields.uri,
        metadata=fields.metadata,
        groups=fields.groups,
    )
