"""/v1/collections/{collection}/documents."""

from typing import Any, Final

from litestar import Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from rag.api.access import Cost, allow
from rag.api.cursors import cut, decode_cursor
from rag.api.schemas import Cursor, DocumentPage, Limit, VersionPage
from rag.api.submissions import read_submission
from rag.domain import Document, Scope
from rag.settings import Settings
from rag.store import documents as store
from rag.store.corpus import read_corpus, read_writing
from rag.store.database import Database, TenantConnection
from rag.store.ingestion import Receipt, submit
from rag.tenancy import Principal

_BEYOND: Final = 2**31 - 1  # no version is numbered as high
_READ: Final = allow(Scope.SEARCH, Scope.INGEST, Scope.MANAGE)
_WRITE: Final = allow(Scope.INGEST, cost=Cost.WRITE)


@put(
    "/v1/collections/{collection:str}/documents/{external_id:str}",
    operation_id="putDocument",
    tags=["documents"],
    summary="Put a document in, or a new version of it",
    status_code=202,
    opt={**_WRITE, "body": "submission", "unchanged": True, "location": True},
)
async def put_document(
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
) -> Response[Receipt]:
    """Queue the document; its old version serves until the new one is ready. Content that serves already is a 200."""
    submission = await read_submission(request, external_id, max_bytes=settings.max_document_bytes)
    async with database.tenant(principal.tenant) as connection:
        writing = await read_writing(connection, principal.tenant)
        receipt = await submit(
            connection,
            request.app.state.services.delivery,
            principal.tenant,
            collection,
            submission,
            chunker_version=writing.chunker_version,
        )
    if receipt.job_id is None:
        return Response(receipt, status_code=200)
    return Response(receipt, headers={"Location": f"/v1/jobs/{receipt.job_id}"})


@get(
    "/v1/collections/{collection:str}/documents",
    operation_id="listDocuments",
    tags=["documents"],
    summary="List documents",
    opt=_READ,
)
async def list_documents(
    collection: FromPath[str],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> DocumentPage:
    """The collection's documents by external id, as far as the key may read them."""
    after = decode_cursor(cursor, str) or ""
    async with database.tenant(principal.tenant, snapshot=True) as connection:
        acl = await _readable(connection, principal)
        found = await store.list_documents(
            connection, principal.tenant, collection, acl=acl, after=after, limit=limit + 1
        )
    data, more, following = cut(found, limit, lambda document: document.external_id)
    return DocumentPage(data=data, has_more=more, next_cursor=following)


@get(
    "/v1/collections/{collection:str}/documents/{external_id:str}",
    operation_id="getDocument",
    tags=["documents"],
    summary="Read a document's record",
    opt=_READ,
)
async def get_document(
    collection: FromPath[str],
    external_id: FromPath[str],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
) -> Document:
    """The document's record; `version` is the one that serves, null until the first has been ingested."""
    async with database.tenant(principal.tenant, snapshot=True) as connection:
        acl = await _readable(connection, principal)
        return await store.get_document(connection, principal.tenant, collection, external_id, acl=acl)


@get(
    "/v1/collections/{collection:str}/documents/{external_id:str}/versions",
    operation_id="listVersions",
    tags=["documents"],
    summary="List a document's versions",
    opt=_READ,
)
async def list_versions(
    collection: FromPath[str],
    external_id: FromPath[str],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> VersionPage:
    """The versions that were ingested, newest first."""
    before = decode_cursor(cursor, int) or _BEYOND
    async with database.tenant(principal.tenant, snapshot=True) as connection:
        acl = await _readable(connection, principal)
        document = await store.get_document(connection, principal.tenant, collection, external_id, acl=acl)
        found = await store.list_versions(
            connection, principal.tenant, document.document_id, before=before, limit=limit + 1
        )
    data, more, following = cut(found, limit, lambda version: version.version)
    return VersionPage(data=data, has_more=more, next_cursor=following)


@delete(
    "/v1/collections/{collection:str}/documents/{external_id:str}",
    operation_id="deleteDocument",
    tags=["documents"],
    summary="Delete a document",
    opt=_WRITE,
)
async def delete_document(
    collection: FromPath[str],
    external_id: FromPath[str],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
) -> None:
    """Remove the document with its versions; no search finds it from then on, and its open jobs are cancelled."""
    async with database.tenant(principal.tenant) as connection:
        await store.delete_document(connection, principal.tenant, collection, external_id)


async def _readable(connection: TenantConnection, principal: Principal) -> list[int] | None:
    # Whoever writes documents sees them all; a reader sees what its groups open.
    if principal.scopes & {Scope.INGEST, Scope.MANAGE}:
        return None
    return (await read_corpus(connection, principal)).acl_ids


ROUTES: Final = (put_document, list_documents, get_document, list_versions, delete_document)
