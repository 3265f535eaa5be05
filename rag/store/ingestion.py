"""Ingestion runs: the one state of what has been asked to be ingested, and the write that brings it into service."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from procrastinate import App
from psycopg.types.json import Jsonb

from rag.audit import SYSTEM, Act, Actor, Detail, Event, Resource
from rag.domain import Job, JobError, JobState, Progress, TenantId
from rag.errors import Conflict, InterruptedDocument, NotFound
from rag.store.audit import record
from rag.store.collections import locate_collection
from rag.store.corpus import Writing, touch_corpus
from rag.store.database import ControlConnection, TenantConnection
from rag.store.delivery import deliver_run
from rag.store.statements import in_space, statement
from rag.store.vocabulary import learn_words

Matrix = NDArray[np.float32]
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
_LAST_RUN: Final = UUID(int=2**128 - 1)


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it was handed in."""

    external_id: str
    body: bytes
    media_type: str | None = None
    filename: str | None = None
    title: str | None = None
    uri: str | None = None
    metadata: dict[str, Any] = {}
    groups: list[str] = []

    def fingerprint(self, chunker_version: str) -> bytes:
        """The SHA-256 of everything that makes the version: the same one again changes nothing."""
        suffix = PurePath(self.filename or "").suffix.lower()  # it may decide what the bytes are read as
        parts = msgspec.json.encode(
            [self.media_type, suffix, self.title, self.uri, self.metadata, sorted(set(self.groups)), chunker_version],
            order="deterministic",
        )
        return hashlib.sha256(hashlib.sha256(self.body).digest() + parts).digest()


class Receipt(msgspec.Struct, frozen=True):
    """What became of a submission; `job_id` None means that it is already in service, unchanged."""

    document_id: UUID
    version: int
    job_id: UUID | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was claimed for one attempt, with its bytes and its fence."""

    run_id: UUID
    document_id: UUID
    collection_id: int
    collection: str
    external_id: str
    version: int
    fingerprint: bytes
    request: dict[str, Any]
    size_bytes: int
    attempts: int
    lease: UUID
    body: bytes


class NewSentence(msgspec.Struct, frozen=True):
    """A sentence of a new chunk; the span is in the version's text."""

    start: int
    end: int
    embedding: NDArray[np.float16] | NDArray[np.float32]


class NewChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk about to go into service, with its vectors; `headings` and `body` are what its lexemes are of."""

    ordinal: int
    start: int
    end: int
    text: str
    heading_path: Sequence[str]
    context: str
    page: int | None
    tokens: int
    pieces: int
    sha256: bytes
    headings: str
    body: str
    embedding: NDArray[np.float32]
    sentences: Sequence[NewSentence]


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version about to go into service."""

    title: str | None
    media_type: str
    text: str
    chunks: Sequence[NewChunk]


async def submit(
    connection: TenantConnection,
    app: App,
    tenant: TenantId,
    collection: str,
    submission: Submission,
    *,
    chunker_version: str,
    backlog: int | None = None,
) -> Receipt:
    """Queue a document for ingestion, in the caller's transaction; the same one again changes nothing.

    `backlog` spares a bulk load the count of the tenant's open runs for each of its documents.
    Raises `NotFound` when there is no such collection.
    """
    number, _ = await locate_collection(connection, tenant, collection)
    claimed = await _one(
        connection,
        "documents.claim",
        {"tenant": tenant, "collection": number, "external_id": submission.external_id},
    )
    fingerprint = submission.fingerprint(chunker_version)
    document = {"tenant": tenant, "document": claimed["document_id"]}
    open_run = {**document, "version": claimed["latest_version"]}
    pending = await (await connection.execute(statement("ingest.pending"), open_run)).fetchone()
    if pending and pending["fingerprint"] == fingerprint:
        return Receipt(claimed["document_id"], pending["version"], pending["run_id"])
    if not pending and claimed["fingerprint"] == fingerprint:
        return Receipt(claimed["document_id"], claimed["current_version"], None)

    version = (await _one(connection, "documents.next_version", document))["latest_version"]
    for older in ("ingest.supersede", "ingest.drop_sources"):
        await connection.execute(statement(older), {**document, "version": version})
    if backlog is None:
        backlog = await open_runs(connection, tenant)
    request = {
        "media_type": submission.media_type,
        "filename": submission.filename,
        "title": submission.title,
        "uri": submission.uri,
        "metadata": submission.metadata,
        "groups": sorted(set(submission.groups)),
        "by": msgspec.to_builtins(connection.by),
    }
    run = await _one(
        connection,
        "ingest.enqueue",
        {
            **document,
            "collection_id": number,
            "collection": collection,
            "external_id": submission.external_id,
            "version": version,
            "fingerprint": fingerprint,
            "request": Jsonb(request),
            "size": len(submission.body),
        },
    )
    source = {"tenant": tenant, "run": run["run_id"], "body": submission.body}
    await connection.execute(statement("ingest.keep_source"), source)
    await deliver_run(app, connection, tenant, run["run_id"], priority=-backlog)
    return Receipt(claimed["document_id"], version, run["run_id"])


async def open_runs(connection: TenantConnection, tenant: TenantId) -> int:
    """How many of the tenant's runs have not ended."""
    return int((await _one(connection, "ingest.backlog", {"tenant": tenant}))["waiting"])


async def claim(connection: TenantConnection, tenant: TenantId, run: UUID) -> Run | None:
    """Take a run for one attempt; None when it has ended, was cancelled, or has lost its bytes."""
    lease = uuid4()
    values = {"tenant": tenant, "run": run, "lease": lease}
    row = await (await connection.execute(statement("ingest.claim"), values)).fetchone()
    source = await (await connection.execute(statement("ingest.source"), values)).fetchone()
    if row and source:
        return Run(**row, lease=lease, body=source["body"])
    if row:
        lost = JobError("source_lost", "the bytes of this document are no longer here", "claiming", "hand it in again")
        await fail(connection, tenant, Run(**row, lease=lease, body=b""), lost, state="dead")
    return None


async def report(
    connection: TenantConnection, tenant: TenantId, run: Run, *, stage: str, done: int, total: int
) -> None:
    """Say how far a run is; raises `InterruptedDocument` when the attempt has been cancelled or replaced."""
    values = {"tenant": tenant, "run": run.run_id, "lease": run.lease, "stage": stage, "done": done, "total": total}
    if await (await connection.execute(statement("ingest.progress"), values)).fetchone() is None:
        raise InterruptedDocument("the job was cancelled or handed to another worker", code="lease_lost")


async def fail(connection: TenantConnection, tenant: TenantId, run: Run, error: JobError, *, state: JobState) -> bool:
    """Record why an attempt ended, as `failed` (to be tried again) or `dead`; False when it is not ours any more."""
    values = {
        "tenant": tenant,
        "run": run.run_id,
        "lease": run.lease,
        "state": state,
        "stage": error.stage,
        "total": 0,
        "error": Jsonb(msgspec.to_builtins(error)),
    }
    ours = await (await connection.execute(statement("ingest.finish"), values)).fetchone() is not None
    if ours and state == "cancelled":
        await connection.execute(statement("ingest.drop_source"), {"tenant": tenant, "run": run.run_id})
    return ours


async def known_embeddings(
    connection: TenantConnection, tenant: TenantId, space: str, hashes: Sequence[bytes]
) -> dict[bytes, NDArray[np.float32]]:
    """The vectors that the tenant already has of these contents, so that only what is new is embedded."""
    values = {"tenant": tenant, "hashes": list(hashes)}
    rows = await (await connection.execute(in_space("chunks.known_embeddings", space), values)).fetchall()
    return {row["content_sha256"]: np.asarray(row["embedding"].to_list(), np.float32) for row in rows}


async def bring_into_service(
    connection: TenantConnection, tenant: TenantId, run: Run, version: NewVersion, writing: Writing
) -> None:
    """Put a version in service and take the one before out of it, all in the caller's transaction.

    Raises `InterruptedDocument` when the attempt is not ours any more, and `Conflict` when the document was deleted
    or a later version serves already.
    """
    document = {"tenant": tenant, "document": run.document_id}
    try:
        number, language = await locate_collection(connection, tenant, run.collection)
    except NotFound as error:
        raise Conflict("the collection was deleted meanwhile") from error
    serving = await (await connection.execute(statement("documents.lock"), document)).fetchone()
    if serving is None:
        raise Conflict("the document was deleted meanwhile")
    if serving["current_version"] >= run.version:
        raise Conflict("a later version of the document serves already")
    names = run.request["groups"]
    digest = hashlib.sha256(msgspec.json.encode(names)).digest()
    groups = {"tenant": tenant, "groups": names, "digest": digest}
    acl = (await _one(connection, "documents.intern_acl", groups))["acl_id"]

    await connection.execute(statement("chunks.delete"), document)
    content = hashlib.sha256(version.text.encode()).digest()
    kept = {**document, "version": run.version, "text": version.text, "sha256": content, "title": version.title}
    await connection.execute(statement("documents.add_version"), kept)
    base = {**document, "version": run.version, "collection": number, "acl": acl}
    await _insert_chunks(connection, version.chunks, base, writing, language)
    served = {
        **base,
        "title": version.title,
        "uri": run.request["uri"],
        "metadata": Jsonb(run.request["metadata"]),
        "fingerprint": run.fingerprint,
        "media_type": version.media_type,
        "size": run.size_bytes,
        "chunks": len(version.chunks),
    }
    await connection.execute(statement("documents.serve"), served)

    finished = {
        "tenant": tenant,
        "run": run.run_id,
        "lease": run.lease,
        "state": "succeeded",
        "stage": "done",
        "total": len(version.chunks),
        "error": None,
    }
    if await (await connection.execute(statement("ingest.finish"), finished)).fetchone() is None:
        raise InterruptedDocument("the job was cancelled or handed to another worker", code="lease_lost")
    await connection.execute(statement("ingest.drop_source"), {"tenant": tenant, "run": run.run_id})
    await learn_words(connection, tenant, [f"{chunk.headings}\n{chunk.body}" for chunk in version.chunks], language)
    # The two rows that every write of the tenant shares come last, so that their locks are held shortest.
    more = len(version.chunks) - serving["chunk_count"]
    first = int(serving["current_version"] == 0)
    counts = {"tenant": tenant, "collection": number, "chunks": more, "documents": first}
    await connection.execute(statement("collections.count"), counts)
    # After the collection's row is locked: a change of its facet fields comes before this or after, never between.
    await connection.execute(statement("facets.keep"), {**document, "collection": number})
    await touch_corpus(connection, tenant, chunks=more, space=writing.space)
    await _record_write(connection, tenant, run, acl=(serving["acl_id"], acl), first=bool(first))


async def list_jobs(
    connection: TenantConnection,
    tenant: TenantId,
    *,
    state: JobState | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[Job]:
    """The tenant's jobs, newest first, those before `before`."""
    time, run = before or (_END_OF_TIME, _LAST_RUN)
    values = {"tenant": tenant, "state": state, "before_time": time, "before_run": run, "limit": limit}
    return [_job(row) for row in await (await connection.execute(statement("ingest.list"), values)).fetchall()]


async def get_job(connection: TenantConnection, tenant: TenantId, job: UUID) -> Job:
    """One job; raises `NotFound`."""
    values = {"tenant": tenant, "run": job}
    row = await (await connection.execute(statement("ingest.get"), values)).fetchone()
    if row is None:
        raise NotFound("no such job")
    return _job(row)


async def tally(connection: TenantConnection, tenant: TenantId, jobs: Sequence[UUID]) -> dict[JobState, int]:
    """Of these jobs, how many are in which state."""
    values = {"tenant": tenant, "runs": list(jobs)}
    rows = await (await connection.execute(statement("ingest.tally"), values)).fetchall()
    return {row["state"]: row["runs"] for row in rows}


async def some_jobs(connection: TenantConnection, tenant: TenantId, jobs: Sequence[UUID]) -> list[Job]:
    """These jobs, in no order."""
    values = {"tenant": tenant, "runs": list(jobs)}
    return [_job(row) for row in await (await connection.execute(statement("ingest.some"), values)).fetchall()]


async def retry_job(connection: TenantConnection, app: App, tenant: TenantId, job: UUID) -> Job:
    """Queue a dead or cancelled job again; `Conflict` when there is nothing to retry, `NotFound` when it is unknown."""
    found = await get_job(connection, tenant, job)
    values = {"tenant": tenant, "run": job}
    if await (await connection.execute(statement("ingest.retry"), values)).fetchone() is None:
        raise Conflict(f"a job that is '{found.status}' cannot be retried, or a later version replaced it")
    await deliver_run(app, connection, tenant, job, priority=-await open_runs(connection, tenant))
    await record(connection, tenant, Event(act=Act.JOB_RETRY, resource=Resource("job", str(job))))
    return await get_job(connection, tenant, job)


async def cancel_job(connection: TenantConnection, tenant: TenantId, job: UUID) -> Job:
    """Stop a job that has not ended; `Conflict` when it has, `NotFound` when it is unknown."""
    found = await get_job(connection, tenant, job)
    if await (await connection.execute(statement("ingest.cancel"), {"tenant": tenant, "run": job})).fetchone() is None:
        raise Conflict(f"the job is '{found.status}' already")
    await record(connection, tenant, Event(act=Act.JOB_CANCEL, resource=Resource("job", str(job))))
    return await get_job(connection, tenant, job)


async def undelivered(connection: ControlConnection, *, limit: int = 1_000) -> list[tuple[TenantId, UUID]]:
    """Open runs whose delivery was lost, of any tenant."""
    rows = await (await connection.execute(statement("ingest.undelivered"), {"limit": limit})).fetchall()
    return [(TenantId(row["tenant_id"]), row["run_id"]) for row in rows]


async def totals(connection: ControlConnection) -> list[dict[str, Any]]:
    """Runs by state over all tenants with the age of the oldest, in seconds: {state, runs, oldest_seconds}."""
    return await (await connection.execute(statement("ingest.totals"))).fetchall()


async def _record_write(
    connection: TenantConnection, tenant: TenantId, run: Run, *, acl: tuple[int | None, int], first: bool
) -> None:
    # The worker writes; who asked for it is who acts.
    by = msgspec.convert(run.request["by"], Actor) if "by" in run.request else SYSTEM
    document = Resource("document", str(run.document_id))
    new = run.request["groups"]
    detail: dict[str, Detail] = {"collection": run.collection, "version": run.version, "groups": new}
    await record(connection, tenant, Event(act=Act.DOCUMENT_WRITE, resource=document, by=by, detail=detail))
    before, after = acl
    if first or before == after:
        return
    old = (await _one(connection, "documents.groups", {"tenant": tenant, "acl": before}))["groups"]
    opened = not new or (bool(old) and bool(set(new) - set(old)))
    groups: dict[str, Detail] = {**detail, "groups_before": old}
    act = Act.DOCUMENT_OPEN if opened else Act.DOCUMENT_CLOSE
    await record(connection, tenant, Event(act=act, resource=document, by=by, detail=groups))


async def _insert_chunks(
    connection: TenantConnection,
    chunks: Sequence[NewChunk],
    base: dict[str, Any],
    writing: Writing,
    language: str,
) -> None:
    rows = [
        {
            **base,
            "chunk": uuid4(),
            "ordinal": chunk.ordinal,
            "text": chunk.text,
            "heading_path": list(chunk.heading_path),
            "context": chunk.context,
            "page": chunk.page,
            "start": chunk.start,
            "end": chunk.end,
            "tokens": chunk.tokens,
            "pieces": chunk.pieces,
            "sha256": chunk.sha256,
            "average": writing.average_length,
            "language": language,
            "headings": chunk.headings,
            "body": chunk.body,
            "embedding": HalfVector(chunk.embedding),
        }
        for chunk in chunks
    ]
    sentences = [
        {
            "tenant": base["tenant"],
            "chunk": row["chunk"],
            "ordinal": ordinal,
            "start": sentence.start,
            "end": sentence.end,
            "embedding": HalfVector(sentence.embedding),
        }
        for row, chunk in zip(rows, chunks, strict=True)
        for ordinal, sentence in enumerate(chunk.sentences)
    ]
    async with connection.cursor() as cursor:
        await cursor.executemany(statement("chunks.insert"), rows)
        await cursor.executemany(statement("chunks.insert_lexemes"), rows)
        await cursor.executemany(in_space("chunks.insert_embedding", writing.space), rows)
        await cursor.executemany(in_space("chunks.insert_sentence", writing.space), sentences)


async def _one(connection: TenantConnection, name: str, values: dict[str, Any]) -> dict[str, Any]:
    row = await (await connection.execute(statement(name), values)).fetchone()
    if row is None:
        raise LookupError(name)
    return row


def _job(row: dict[str, Any]) -> Job:
    return Job(
        job_id=row["run_id"],
        status=row["state"],
        progress=Progress(row["stage"], row["done"], row["total"]),
        collection=row["collection"],
        external_id=row["external_id"],
        document_id=row["document_id"],
        version=row["version"],
        attempts=row["attempts"],
        error=JobError(**row["error"]) if row["error"] else None,
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
