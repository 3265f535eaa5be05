"""Documents as their readers see them, and their removal."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from rag.audit import Act, Event, Resource
from rag.domain import Document, DocumentVersion, TenantId
from rag.errors import NotFound
from rag.store.audit import record
from rag.store.collections import locate_collection
from rag.store.corpus import touch_corpus
from rag.store.database import TenantConnection
from rag.store.statements import statement

_EVERY_VERSION: Final = 2**31 - 1
_FORGET: Final = (
    "answers.forget_document",
    "ingest.cancel_document",
    "ingest.drop_sources",
    "ingest.forget_document",
)


async def get_document(
    connection: TenantConnection, tenant: TenantId, collection: str, external_id: str, *, acl: Sequence[int] | None
) -> Document:
    """One document; `acl` None reads any, else those of these sets; raises `NotFound`."""
    values = {"tenant": tenant, "collection": collection, "external_id": external_id, "acl": _list(acl)}
    row = await (await connection.execute(statement("documents.get"), values)).fetchone()
    if row is None:
        raise _absent(external_id)
    return Document(**row)


async def list_documents(
    connection: TenantConnection,
    tenant: TenantId,
    collection: str,
    *,
    acl: Sequence[int] | None,
    after: str = "",
    limit: int = 100,
) -> list[Document]:
    """The documents of a collection by external id, those after `after`; raises `NotFound` for no collection."""
    named = {"tenant": tenant, "name": collection}
    found = await (await connection.execute(statement("collections.number"), named)).fetchone()
    if found is None:
        raise NotFound(f"no collection '{collection}'")
    values = {
        "tenant": tenant,
        "collection": collection,
        "collection_id": found["collection_id"],
        "after": after,
        "limit": limit,
        "acl": _list(acl),
    }
    return [Document(**row) for row in await (await connection.execute(statement("documents.list"), values)).fetchall()]


async def list_versions(
    connection: TenantConnection, tenant: TenantId, document: UUID, *, before: int = _EVERY_VERSION, limit: int = 100
) -> list[DocumentVersion]:
    """The versions of a document, newest first, those before `before`."""
    values = {"tenant": tenant, "document": document, "before": before, "limit": limit}
    rows = await (await connection.execute(statement("documents.versions"), values)).fetchall()
    return [DocumentVersion(**row) for row in rows]


async def version_text(connection: TenantConnection, tenant: TenantId, document: UUID, version: int) -> str:
    """The canonical text of a version, which every citation of it is a slice of; raises `NotFound`."""
    values = {"tenant": tenant, "document": document, "version": version}
    row = await (await connection.execute(statement("documents.version_text"), values)).fetchone()
    if row is None:
        raise NotFound("no such version")
    return str(row["text"])


async def read_spans(
    connection: TenantConnection, tenant: TenantId, spans: Sequence[tuple[UUID, int, int, int]]
) -> dict[tuple[UUID, int, int, int], str]:
    """The stored text of spans (document, version, start, end), in one round trip; absent ones are left out."""
    if not spans:
        return {}
    documents, versions, starts, ends = (list(part) for part in zip(*spans, strict=True))
    values = {"tenant": tenant, "documents": documents, "versions": versions, "starts": starts, "ends": ends}
    rows = await (await connection.execute(statement("documents.spans"), values)).fetchall()
    return {(r["document_id"], r["version"], r["span_start"], r["span_end"]): r["text"] for r in rows}


async def delete_document(connection: TenantConnection, tenant: TenantId, collection: str, external_id: str) -> None:
    """Remove a document, everything made from it and every answer that quotes it; raises `NotFound`."""
    number, _ = await locate_collection(connection, tenant, collection)
    values = {"tenant": tenant, "collection": number, "external_id": external_id}
    row = await (await connection.execute(statement("documents.delete"), values)).fetchone()
    if row is None:
        raise _absent(external_id)
    document = {"tenant": tenant, "document": row["document_id"], "version": _EVERY_VERSION}
    for forget in (
        "answers.forget_document",
        "ingest.cancel_document",
        "ingest.drop_sources",
        "ingest.forget_document",
    ):
        await connection.execute(statement(forget), document)
    counts = {
        "tenant": tenant,
        "collection": number,
        "chunks": -row["chunk_count"],
        "documents": -int(row["served"]),
    }
    await connection.execute(statement("collections.count"), counts)
    await touch_corpus(connection, tenant, chunks=-row["chunk_count"])
    resource = Resource("document", str(row["document_id"]))
    await record(
        connection, tenant, Event(act=Act.DOCUMENT_DELETE, resource=resource, detail={"collection": collection})
    )


def _list(acl: Sequence[int] | None) -> list[int] | None:
    return None if acl is None else list(acl)


def _absent(external_id: str) -> NotFound:
    return NotFound(f"no document '{external_id}'")
