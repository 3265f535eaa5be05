"""From bytes to a version in service: the page.

    claim -> partition (sandboxed) -> chunk by meaning -> embed what is new -> one transaction: new in, old out

The last step alone changes what readers see: a crash anywhere before it leaves the old version serving.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from ingest.chunk import CHUNKER_VERSION, Chunk, ChunkedDocument, chunk
from ingest.failures import TryAgain, backoff_s, describe, outcome
from ingest.partition import Partition
from ingest.sandbox import Sandbox
from rag.domain import TenantId
from rag.embedding.base import Embedder, require_space
from rag.errors import Conflict, InterruptedDocument, SetupError, UnreadableDocument
from rag.spelling import one_spelling
from rag.store.corpus import read_writing
from rag.store.database import Database
from rag.store.ingestion import (
    NewChunk,
    NewSentence,
    NewVersion,
    Run,
    bring_into_service,
    claim,
    fail,
    known_embeddings,
    report,
)
from rag.telemetry import DOCUMENTS_INGESTED, log, stage
from rag.tokens import count_tokens

_BATCH: Final = 32  # chunks between two reports of progress

Matrix = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """What the pipeline works with."""

    database: Database
    encoder: Embedder
    sandbox: Sandbox
    max_attempts: int


async def ingest_document(tools: Tools, tenant: TenantId, run_id: UUID) -> bool:
    """Bring a run's document into service; False when there was nothing to do or it ended dead.

    Raises `TryAgain` when the attempt failed for a reason that time may mend. Every end is written to the run.
    """
    async with tools.database.tenant(tenant) as connection:
        run = await claim(connection, tenant, run_id)
    if run is None:
        return False
    attempt = _Attempt(tools, tenant, run)
    try:
        await attempt.go()
    except Conflict as reason:
        log.info("ingest_overtaken", run=str(run_id), reason=reason.message)
        await attempt.end_as_cancelled(reason)
        return False
    except Exception as error:  # noqa: BLE001 - every end of a document is recorded, whatever it was
        await attempt.end_badly(error)
        return False
    DOCUMENTS_INGESTED.labels("succeeded").inc()
    return True


class _Attempt:
    """One attempt at one run."""

    def __init__(self, tools: Tools, tenant: TenantId, run: Run) -> None:
        self._tools = tools
        self._tenant = tenant
        self._run = run
        self._stage = "parsing"

    async def go(self) -> None:
        run, tools = self._run, self._tools
        if run.attempts > tools.max_attempts:
            raise UnreadableDocument(
                f"{run.attempts - 1} attempts ended without a word, the worker with them",
                code="gave_up",
                hint="look for what ends the worker (memory?), then retry the job",
            )
        parsed = await self._timed("parsing", self._parse)
        title = run.request["title"] or parsed.title
        chunked = await self._timed(
            "chunking", lambda: asyncio.to_thread(chunk, parsed, title=title, encoder=tools.encoder)
        )
        async with tools.database.tenant(self._tenant) as connection:
            writing = await read_writing(connection, self._tenant)
        require_space(tools.encoder, space=writing.space, model=writing.model, revision=writing.revision)
        if writing.chunker_version != CHUNKER_VERSION:
            raise SetupError(f"the space '{writing.space}' holds chunks of version {writing.chunker_version}")
        vectors = await self._timed("embedding", lambda: self._embed(chunked.chunks, writing.space))
        version = new_version(parsed, chunked, vectors, title)
        await self._timed("writing", lambda: self._write(version, writing.space))

    async def _timed(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self._stage = name
        await self._report(0, 0)
        with stage(f"ingest_{name}"):
            return await work()

    async def _report(self, done: int, total: int) -> None:
        async with self._tools.database.tenant(self._tenant) as connection:
            await report(connection, self._tenant, self._run, stage=self._stage, done=done, total=total)

    async def _parse(self) -> Partition:
        request = self._run.request
        return await self._tools.sandbox.partition(
            self._run.body, declared=request["media_type"], filename=request["filename"]
        )

    async def _embed(self, chunks: list[Chunk], space: str) -> Matrix:
        hashes = [piece.content_sha256 for piece in chunks]
        async with self._tools.database.tenant(self._tenant) as connection:
            known = await known_embeddings(connection, self._tenant, space, hashes)
        new = [index for index, digest in enumerate(hashes) if digest not in known]
        vectors = np.zeros((len(chunks), self._tools.encoder.dimensions), np.float32)
        for index, digest in enumerate(hashes):
            if digest in known:
                vectors[index] = known[digest]
        for start in range(0, len(new), _BATCH):
            await self._report(start, len(new))
            batch = new[start : start + _BATCH]
            vectors[batch] = await self._tools.encoder.embed([chunks[i].embedded_text for i in batch])
        return vectors

    async def _write(self, version: NewVersion, space: str) -> None:
        async with self._tools.database.tenant(self._tenant, timeout_s=120) as connection:
            writing = await read_writing(connection, self._tenant)
            if writing.space != space:
                raise InterruptedDocument("the tenant was moved to another embedding space meanwhile")
            await bring_into_service(connection, self._tenant, self._run, version, writing)

    async def end_as_cancelled(self, reason: Conflict) -> None:
        DOCUMENTS_INGESTED.labels("cancelled").inc()
        async with self._tools.database.tenant(self._tenant) as connection:
            await fail(connection, self._tenant, self._run, describe(reason, self._stage), state="cancelled")

    async def end_badly(self, error: Exception) -> None:
        if isinstance(error, InterruptedDocument) and error.reason == "lease_lost":
            DOCUMENTS_INGESTED.labels("cancelled").inc()
            return
        state = outcome(error, attempts=self._run.attempts, max_attempts=self._tools.max_attempts)
        reason = describe(error, self._stage)
        DOCUMENTS_INGESTED.labels(state).inc()
        log.warning("ingest_failed", run=str(self._run.run_id), state=state, code=reason.code, stage=self._stage)
        async with self._tools.database.tenant(self._tenant) as connection:
            ours = await fail(connection, self._tenant, self._run, reason, state=state)
        if ours and state == "failed":
            raise TryAgain(backoff_s(self._run.attempts)) from error


def new_version(parsed: Partition, chunked: ChunkedDocument, vectors: Matrix, title: str | None) -> NewVersion:
    """What is to be written of a chunked document; `vectors` (n, dim) are its chunks', in order."""
    chunks: list[NewChunk] = []
    used = 0
    for piece, vector in zip(chunked.chunks, vectors, strict=True):
        count = len(piece.sentences)
        own = chunked.sentence_vectors[used : used + count]
        used += count
        chunks.append(_new_chunk(piece, vector, own, title))
    return NewVersion(title=title, media_type=parsed.media_type, text=chunked.text, chunks=chunks)


def _new_chunk(piece: Chunk, vector: NDArray[np.float32], sentences: Matrix, title: str | None) -> NewChunk:
    headings = [] if title is None or title in piece.heading_path else [title]
    return NewChunk(
        ordinal=piece.ordinal,
        start=piece.start,
        end=piece.end,
        text=piece.text,
        heading_path=piece.heading_path,
        context=piece.context,
        page=piece.page,
        tokens=count_tokens(piece.text),
        pieces=piece.pieces,
        sha256=piece.content_sha256,
        headings=one_spelling("\n".join([*headings, *piece.heading_path])),
        body=one_spelling(f"{piece.context}\n{piece.text}"),
        embedding=vector,
        sentences=[
            NewSentence(sentence.start, sentence.end, own)
            for sentence, own in zip(piece.sentences, sentences, strict=True)
        ],
    )
