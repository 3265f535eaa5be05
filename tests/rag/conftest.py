"""Tenants at the level of the store: documents go into service without a parser, and without an encoder if need be."""

import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import numpy as np
import pytest
from procrastinate import App

from rag.domain import JobError, Scope, TenantId
from rag.services import Services
from rag.settings import Settings
from rag.store.collections import create_collection
from rag.store.corpus import read_writing, refresh_statistics
from rag.store.database import Database, TenantConnection
from rag.store.delivery import delivery_app
from rag.store.ingestion import (
    NewChunk,
    NewSentence,
    NewVersion,
    Receipt,
    Run,
    Submission,
    bring_into_service,
    claim,
    fail,
    submit,
)
from rag.store.tenants import create_tenant
from rag.tenancy import Principal

DIMENSIONS = 384
_SENTENCE = re.compile(r"\S.*?(?:[.!?:](?=\s)|$)", re.MULTILINE)
_PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")

Embed = Callable[[Sequence[str]], np.ndarray]


def hashed_vectors(texts: Sequence[str]) -> np.ndarray:
    """A unit vector (n, dim) for each text: equal texts have equal ones, and that is all they mean."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
    rows = [np.random.default_rng(seed).standard_normal(DIMENSIONS) for seed in seeds]
    matrix = np.asarray(rows, np.float32).reshape(len(texts), DIMENSIONS)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def new_version(text: str, embed: Embed, *, title: str | None = None) -> NewVersion:
    """A version whose chunks are the paragraphs of the text, and whose sentences end where the punctuation does."""
    pieces = [(match.start(), match[0].rstrip()) for match in _PARAGRAPH.finditer(text)]
    sentences = [[(start + m.start(), m[0]) for m in _SENTENCE.finditer(piece)] for start, piece in pieces]
    vectors = embed([piece for _, piece in pieces])
    own = iter(embed([sentence for chunk in sentences for _, sentence in chunk]))
    chunks = [
        NewChunk(
            ordinal=ordinal,
            start=start,
            end=start + len(piece),
            text=piece,
            heading_path=[],
            context="",
            page=None,
            tokens=len(piece.split()),
            pieces=len(piece.split()),
            sha256=hashlib.sha256(piece.encode()).digest(),
            headings=title or "",
            body=piece,
            embedding=vectors[ordinal],
            sentences=[NewSentence(at, at + len(sentence), next(own)) for at, sentence in sentences[ordinal]],
        )
        for ordinal, (start, piece) in enumerate(pieces)
    ]
    return NewVersion(title=title, media_type="text/markdown", text=text, chunks=chunks)


@dataclass(frozen=True)
class Owner:
    """A tenant with a collection `kb`, and the steps of an ingestion one by one."""

    database: Database
    delivery: App
    principal: Principal
    embed: Embed

    @property
    def tenant(self) -> TenantId:
        return self.principal.tenant

    def connect(self, *, snapshot: bool = False) -> AbstractAsyncContextManager[TenantConnection]:
        return self.database.tenant(self.tenant, snapshot=snapshot)

    async def put(self, external_id: str, text: str, *, collection: str = "kb", **more) -> Receipt:
        """Queue a document."""
        submission = Submission(external_id=external_id, body=text.encode(), media_type="text/markdown", **more)
        async with self.connect() as connection:
            version = (await read_writing(connection, self.tenant)).chunker_version
            return await submit(connection, self.delivery, self.tenant, collection, submission, chunker_version=version)

    async def claim(self, receipt: Receipt) -> Run | None:
        """Begin an attempt at it."""
        assert receipt.job_id is not None
        async with self.connect() as connection:
            return await claim(connection, self.tenant, receipt.job_id)

    async def finish(self, run: Run) -> None:
        """Bring what the run holds into service."""
        version = new_version(run.body.decode(), self.embed, title=run.request["title"])
        async with self.connect() as connection:
            writing = await read_writing(connection, self.tenant)
            await bring_into_service(connection, self.tenant, run, version, writing)

    async def kill(self, receipt: Receipt) -> Run:
        """Let an attempt at it end for good."""
        run = await self.claim(receipt)
        assert run is not None
        async with self.connect() as connection:
            error = JobError("unreadable_document", "it will not parse", "parsing")
            assert await fail(connection, self.tenant, run, error, state="dead")
        return run

    async def serve(self, external_id: str, text: str, **more) -> Receipt:
        """Queue a document and bring it into service, unless it is there already."""
        receipt = await self.put(external_id, text, **more)
        if receipt.job_id is not None:
            run = await self.claim(receipt)
            assert run is not None
            await self.finish(run)
        return receipt

    async def serve_all(self, documents: dict[str, str], **more) -> list[Receipt]:
        """Bring documents into service, with fresh statistics."""
        receipts = [await self.serve(external_id, text, **more) for external_id, text in documents.items()]
        async with self.connect() as connection:
            await refresh_statistics(connection, self.tenant)
        return receipts


async def make_owner(
    database: Database, delivery: App, slug: str, *, embed: Embed = hashed_vectors, groups: tuple[str, ...] = ()
) -> Owner:
    async with database.control() as control:
        tenant = TenantId((await create_tenant(control, slug)).tenant_id)
    async with database.tenant(tenant) as connection:
        await create_collection(connection, tenant, "kb")
    return Owner(database, delivery, principal_of(tenant, slug, *groups), embed)


def principal_of(tenant: TenantId, slug: str, *groups: str) -> Principal:
    """A caller with every scope; without a group it reads what every reader may."""
    scopes = frozenset(Scope)
    return Principal(tenant=tenant, slug=slug, key_id=tenant, kind="secret", scopes=scopes, groups=groups)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A pool as the app role, on a database of the test's own."""
    opened = await Database.open(settings.secret("database_url"), size=settings.pool_size)
    yield opened
    await opened.close()


@pytest.fixture
async def delivery(settings: Settings) -> AsyncIterator[App]:
    app = delivery_app(settings.secret("database_url"), size=2)
    async with app.open_async():
        yield app


@pytest.fixture(scope="session")
def owners() -> Callable[..., Awaitable[Owner]]:
    """Make a tenant of a slug on a database and its queue."""
    return make_owner


@pytest.fixture(scope="session")
def as_reader() -> Callable[..., Principal]:
    """Make a caller of a tenant with these groups and no more."""
    return principal_of


@pytest.fixture
async def acme(database: Database, delivery: App) -> Owner:
    return await make_owner(database, delivery, "acme")


@pytest.fixture
async def bolt(database: Database, delivery: App) -> Owner:
    return await make_owner(database, delivery, "bolt")


@pytest.fixture
def stock(services: Services) -> Callable[..., Awaitable[Owner]]:
    """Make a tenant whose documents are embedded by the real encoder."""
    numbers = itertools.count(1)

    async def make(slug: str | None = None, *, groups: tuple[str, ...] = ()) -> Owner:
        return await make_owner(
            services.database,
            services.delivery,
            slug or f"tenant-{next(numbers)}",
            embed=services.encoder.embed_sync,
            groups=groups,
        )

    return make
