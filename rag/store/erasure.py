"""What an erasure removes, store by store, and the receipt it leaves; `rag.erasure` is the page that calls this."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from rag.audit import Act, Actor, Event, Resource
from rag.domain import Erasure, ErasureKind, StoreCount, TenantId
from rag.errors import NotFound, SetupError, WriteConflict
from rag.store.audit import record
from rag.store.corpus import refresh_statistics, touch_corpus
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import in_store, statement

QUEUE: Final = "jobs.procrastinate_jobs"
CACHE: Final = "cache"
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
_LAST: Final = UUID(int=2**128 - 1)

Counts = dict[str, int]


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A table of tenants' rows: whether any of them are of a document or of a person, and why it is kept if it is."""

    table: str
    document: bool = False
    user: bool = False
    by_owner: bool = False  # removed with the tenant's own row, by the one function that may
    kept: str = ""


# Every table with a tenant's rows, those that refer to others first; tests hold it against the schema.
_STORES: Final = (
    Store(table="chunk_lexemes", document=True),
    Store(table="chunks", document=True),
    Store(table="document_versions", document=True),
    Store(table="idempotency_records", document=True, user=True),
    Store(table="answers", document=True, user=True),
    Store(table="lexeme_stats", document=True),
    Store(table="vocabulary", document=True),
    Store(table="pins", document=True),
    Store(table="document_facets", document=True),
    Store(table="ingest_sources", document=True),
    Store(table="ingest_runs", document=True),
    Store(table="documents", document=True),
    Store(table="acl_sets", document=True),
    Store(table="collections"),
    Store(table="retention"),
    Store(table="tenant_limits", by_owner=True),
    Store(table="signing_secrets", by_owner=True),
    Store(table="api_keys", by_owner=True),
    Store(table="corpora", by_owner=True),
    Store(table="tenants", by_owner=True),
    Store(table="dense_partitions", kept="where vectors stood: the worker drops what is empty"),
    Store(table="erasures", kept="receipts: ids, digests and counts"),
    Store(table="audit_chains", kept="the audit trail"),
    Store(table="audit_events", kept="the audit trail: who did what, no content"),
)
_OF_A_SPACE: Final = ("embeddings_", "chunk_sentences_")
_OWN_WAY: Final = {
    "answers": "erasure.document_answers",
    "idempotency_records": "erasure.document_requests",
    "ingest_sources": "erasure.document_sources",
    "pins": "erasure.document_pins",
}
_BY_DOCUMENT_ID: Final = (
    "chunk_lexemes",
    "chunks",
    "document_versions",
    "document_facets",
    "ingest_runs",
    "documents",
)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure that is not finished, locked for the one who takes its next step."""

    erasure_id: UUID
    tenant_id: TenantId
    kind: ErasureKind
    subject: dict[str, Any]
    step: str
    removed: Counts

    def having(self, removed: Counts, **more: Any) -> "Task":
        """The task with more removed."""
        summed = {store: self.removed.get(store, 0) + removed.get(store, 0) for store in {*self.removed, *removed}}
        return msgspec.structs.replace(self, removed=summed, **more)


def subject_digest(kind: ErasureKind, tenant: UUID, *names: str) -> bytes:
    """What a receipt says instead of names: SHA-256 of `kind`, the tenant's id and the names, a line each."""
    return hashlib.sha256("\n".join([kind, str(tenant), *names]).encode()).digest()


async def stores_of(connection: TenantConnection | ControlConnection) -> list[Store]:
    """Every store there is, in the order of removal; raises `SetupError` for a table that erasure does not know."""
    rows = await (await connection.execute(statement("erasure.tables"))).fetchall()
    known = {store.table: store for store in _STORES}
    spaces = [Store(table=row["name"], document=True) for row in rows if row["name"].startswith(_OF_A_SPACE)]
    unknown = {row["name"] for row in rows} - known.keys() - {store.table for store in spaces}
    if unknown:
        raise SetupError(f"erasure does not know what is in {', '.join(sorted(unknown))}: nothing was erased")
    return [*spaces, *_STORES]


async def await_writes(connection: TenantConnection, tenant: TenantId) -> None:
    """Wait for the tenant's writes under way, and keep others out until the transaction ends."""
    await connection.execute(statement("erasure.await_writes"), {"tenant": tenant})


async def close_tenant(
    connection: ControlConnection, tenant: TenantId, slug: str, *, step: str, by: Actor
) -> UUID | None:
    """Close a tenant for good, which waits for its writes under way; None when somebody else just did.

    From the commit on nobody enters it but its erasure.
    """
    subject = {"slug": slug}
    values = {**_beginning(tenant, "tenant", subject, step, by), "tenant": tenant}
    row = await (await connection.execute(statement("erasure.close"), values)).fetchone()
    begun: UUID | None = row["erasure_id"] if row else None
    if begun:
        resource = Resource("tenant", str(tenant))
        await record(connection, None, Event(act=Act.TENANT_DELETE, resource=resource))
        await _record_begin(connection, tenant, begun, "tenant")
    return begun


async def begin(
    connection: TenantConnection, tenant: TenantId, kind: ErasureKind, subject: dict[str, str], *, step: str
) -> UUID:
    """Record that a subject is to be erased; the same one again, while it is not finished, is the same erasure."""
    values = _beginning(tenant, kind, subject, step, connection.by)
    row = await (await connection.execute(statement("erasure.begin"), values)).fetchone()
    if row is None:
        raise WriteConflict("the same erasure has just begun", retry_after=0.5)
    await _record_begin(connection, tenant, row["erasure_id"], kind)
    begun: UUID = row["erasure_id"]
    return begun


def _beginning(tenant: TenantId, kind: ErasureKind, subject: dict[str, str], step: str, by: Actor) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "kind": kind,
        "digest": subject_digest(kind, tenant, *subject.values()),
        "subject": Jsonb(subject),
        "by": by.identity,
        "step": step,
    }


async def _record_begin(
    connection: TenantConnection | ControlConnection, tenant: TenantId, erasure: UUID, kind: ErasureKind
) -> None:
    event = Event(act=Act.ERASURE_BEGIN, resource=Resource("erasure", str(erasure)), detail={"kind": kind})
    await record(connection, tenant, event)


async def open_erasure(
    connection: TenantConnection, tenant: TenantId, kind: ErasureKind, subject: dict[str, str]
) -> UUID | None:
    """The erasure of this subject that is not finished; None when there is none."""
    values = {"tenant": tenant, "digest": subject_digest(kind, tenant, *subject.values())}
    row = await (await connection.execute(statement("erasure.begun"), values)).fetchone()
    return row["erasure_id"] if row else None


async def lock(connection: TenantConnection, tenant: TenantId, erasure: UUID) -> Task | None:
    """The task of an erasure, for this transaction alone; None when it is finished."""
    values = {"tenant": tenant, "erasure": erasure}
    row = await (await connection.execute(statement("erasure.lock"), values)).fetchone()
    return Task(**row) if row else None


async def move_on(connection: TenantConnection, task: Task) -> None:
    """Keep how far a task is, with the rows it removed, in their own transaction."""
    values = {
        "tenant": task.tenant_id,
        "erasure": task.erasure_id,
        "removed": Jsonb(task.removed),
        "step": task.step,
        "subject": Jsonb(task.subject),
    }
    await connection.execute(statement("erasure.record"), values)


async def finish(connection: TenantConnection, task: Task, remaining: Counts) -> None:
    """Write the receipt, and forget what was erased by name."""
    rows = sum(task.removed.values())
    resource = Resource("erasure", str(task.erasure_id))
    event = Event(act=Act.ERASURE_FINISH, resource=resource, detail={"kind": task.kind, "rows": rows})
    await record(connection, task.tenant_id, event)
    values = {
        "tenant": task.tenant_id,
        "erasure": task.erasure_id,
        "removed": Jsonb(task.removed),
        "remaining": Jsonb(remaining),
    }
    await connection.execute(statement("erasure.finish"), values)


# ---------------------------------------------------------------- receipts


async def get_erasure(connection: ControlConnection, erasure: UUID) -> Erasure:
    """An erasure and its receipt; raises `NotFound`."""
    found = await _find(connection, erasure=erasure, limit=1)
    if not found:
        raise NotFound("no such erasure")
    return found[0]


async def list_erasures(
    connection: ControlConnection, *, before: tuple[datetime, UUID] | None = None, limit: int = 100
) -> list[Erasure]:
    """Erasures of all tenants, newest first, those before `before`."""
    return await _find(connection, before=before, limit=limit)


async def open_erasures(
    connection: ControlConnection, *, tenant: TenantId | None = None, limit: int = 100
) -> list[Erasure]:
    """Erasures that somebody has to finish, of one tenant or of all."""
    return await _find(connection, tenant=tenant, unfinished=True, limit=limit)


async def _find(
    connection: ControlConnection,
    *,
    erasure: UUID | None = None,
    tenant: TenantId | None = None,
    unfinished: bool = False,
    before: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[Erasure]:
    time, last = before or (_END_OF_TIME, _LAST)
    values = {
        "erasure": erasure,
        "tenant_id": tenant,
        "open": unfinished,
        "before_time": time,
        "before": last,
        "limit": limit,
    }
    rows = await (await connection.execute(statement("erasure.find"), values)).fetchall()
    stores = await stores_of(connection)
    return [_erasure(row, stores) for row in rows]


def _erasure(row: dict[str, Any], stores: list[Store]) -> Erasure:
    left = row["remaining"]
    names = [*(store.table for store in stores), QUEUE, CACHE]
    notes = {store.table: _note(store, row["kind"]) for store in stores}
    # What the receipt names and the schema of today has no more stands on it all the same.
    names += sorted({*row["removed"], *(left or {})} - set(names))
    return Erasure(
        erasure_id=row["erasure_id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        state="finished" if row["finished_at"] else "running",
        step=row["step"],
        digest=row["digest"].hex(),
        requested_by=row["requested_by"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        stores=[
            StoreCount(
                name, row["removed"].get(name, 0), None if left is None else left.get(name, 0), notes.get(name, "")
            )
            for name in names
        ],
    )


def _note(store: Store, kind: ErasureKind) -> str:
    if store.kept:
        return f"kept: {store.kept}"
    if (kind == "document" and not store.document) or (kind == "user" and not store.user):
        return f"holds nothing of a {kind}"
    return ""


# ---------------------------------------------------------------- a tenant


async def clear_queue(connection: TenantConnection, tenant: TenantId, runs: list[UUID] | None = None) -> Counts:
    """Take the tenant's waiting deliveries, or those of some runs, off the queue."""
    values = {"tenant": tenant, "runs": runs}
    return {QUEUE: (await connection.execute(statement("erasure.queue"), values)).rowcount}


async def clear_batch(connection: TenantConnection, tenant: TenantId, store: Store, limit: int) -> Counts:
    """Remove at most `limit` of a tenant's rows from one store."""
    values = {"tenant": tenant, "limit": limit}
    return {store.table: (await connection.execute(in_store("erasure.batch", store.table), values)).rowcount}


async def clear_tenant(connection: TenantConnection, tenant: TenantId, stores: list[Store]) -> tuple[Counts, Counts]:
    """Remove the tenant's own row and its keys; gives back what that removed, and what is left in any store."""
    before = await _count_all(connection, tenant)
    await connection.execute(statement("tenants.delete"), {"tenant": tenant})
    after = await _count_all(connection, tenant)
    return {store.table: before[store.table] - after[store.table] for store in stores if not store.kept}, after


async def _count_all(connection: TenantConnection, tenant: TenantId) -> Counts:
    rows = await (await connection.execute(statement("erasure.count_all"), {"tenant": tenant})).fetchall()
    return {row["store"]: row["rows"] for row in rows}


async def _count(connection: TenantConnection, tenant: TenantId, table: str) -> int:
    row = await (await connection.execute(in_store("erasure.count", table), {"tenant": tenant})).fetchone()
    return int(row["rows"]) if row else 0


# ---------------------------------------------------------------- a document


async def document_ids(connection: TenantConnection, tenant: TenantId, collection: str, external_id: str) -> list[UUID]:
    """The ids that a document has or had, also when it was deleted; empty when nothing is known of it."""
    values = {"tenant": tenant, "collection": collection, "external_id": external_id}
    rows = await (await connection.execute(statement("erasure.document_ids"), values)).fetchall()
    return [row["document_id"] for row in rows]


async def clear_document(
    connection: TenantConnection, tenant: TenantId, documents: list[UUID], stores: list[Store]
) -> Counts:
    """Remove a document with all that was made from it; no search finds it once the transaction has committed.

    An ingestion of it that is under way finds neither its run nor its document when it comes to write.
    """
    values = {"tenant": tenant, "documents": documents}
    served = await (await connection.execute(statement("erasure.document_served"), values)).fetchall()
    runs = await (await connection.execute(statement("erasure.document_runs"), values)).fetchall()
    counts = await clear_queue(connection, tenant, [row["run_id"] for row in runs])
    for store in stores:
        if text := _of_document(store):
            cursor = await connection.execute(in_store(text, store.table), values)
            counts[store.table] = cursor.rowcount
    for row in served:
        gone = {"tenant": tenant, "collection": row["collection_id"]}
        less = {"chunks": -row["chunk_count"], "documents": -int(row["served"])}
        await connection.execute(statement("collections.count"), {**gone, **less})
    if served:
        await touch_corpus(connection, tenant, chunks=-sum(row["chunk_count"] for row in served))
    return counts


def _of_document(store: Store) -> str | None:
    if store.table.startswith("chunk_sentences_"):
        return "erasure.document_chunk_rows"
    if store.table.startswith("embeddings_") or store.table in _BY_DOCUMENT_ID:
        return "erasure.document_rows"
    return _OWN_WAY.get(store.table)


async def clear_unused_groups(connection: TenantConnection, tenant: TenantId) -> Counts:
    """Remove the sets of groups that no document has any more, whose names may say something."""
    locked = await (await connection.execute(statement("erasure.lock_unused_groups"), {"tenant": tenant})).fetchall()
    values = {"tenant": tenant, "acl": [row["acl_id"] for row in locked]}
    return {"acl_sets": (await connection.execute(statement("erasure.unused_groups"), values)).rowcount}


async def clear_statistics(connection: TenantConnection, tenant: TenantId) -> Counts:
    """Count the tenant's words anew; those that stood in nothing else are gone, however they were spelled."""
    words = ("lexeme_stats", "vocabulary")
    before = {table: await _count(connection, tenant, table) for table in words}
    await refresh_statistics(connection, tenant)
    await connection.execute(statement("vocabulary.forget_unwritten"), {"tenant": tenant})
    return {table: max(0, before[table] - await _count(connection, tenant, table)) for table in words}


async def document_remaining(
    connection: TenantConnection, tenant: TenantId, documents: list[UUID], stores: list[Store]
) -> Counts:
    """How many rows of a document each store has left."""
    values = {"tenant": tenant, "documents": documents}
    counts = {}
    for store in stores:
        text = {
            "erasure.document_rows": "erasure.document_left",
            "erasure.document_answers": "erasure.document_answers_left",
        }
        if counted := text.get(_of_document(store) or ""):
            row = await (await connection.execute(in_store(counted, store.table), values)).fetchone()
            counts[store.table] = row["rows"] if row else 0
    return counts


# ---------------------------------------------------------------- a person


async def clear_user_batch(connection: TenantConnection, tenant: TenantId, user: str, limit: int) -> Counts:
    """Remove at most `limit` of a person's questions, with their answers."""
    values = {"tenant": tenant, "user": user, "limit": limit}
    # The requests first: they are found by their answers.
    requests = (await connection.execute(statement("erasure.user_requests"), values)).rowcount
    answers = (await connection.execute(statement("erasure.user_answers"), values)).rowcount
    return {"answers": answers, "idempotency_records": requests}


async def user_remaining(connection: TenantConnection, tenant: TenantId, user: str) -> Counts:
    """How many rows of a person each store has left."""
    values = {"tenant": tenant, "user": user}
    row = await (await connection.execute(statement("erasure.user_answers_left"), values)).fetchone()
    return {"answers": row["rows"] if row else 0}
