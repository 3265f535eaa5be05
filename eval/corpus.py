"""A data set's corpus in service: a tenant of its own, filled by the ingestion that serves everybody.

The tenant's name is a digest of what its chunks and vectors depend on, so that a corpus kept from an earlier run is
found again, and a load that was interrupted goes on where it stopped.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from eval.datasets import Dataset, Document
from ingest.chunk import CHUNKER_VERSION
from ingest.cli.load import run_load, worker_at_hand
from ingest.cli.session import operator_of
from ingest.load import Load
from rag.domain import Tenant, TenantId
from rag.errors import Conflict, NotFound
from rag.services import Services
from rag.store.collections import create_collection
from rag.store.corpus import read_writing, refresh_statistics
from rag.store.ingestion import Receipt, Submission, submit
from rag.store.tenants import create_tenant, delete_tenant, tenant_by_slug
from rag.tenancy import Principal

_COLLECTION: Final = "corpus"
_BATCH: Final = 50
_LOOKS: Final = 10
_LOOK_S: Final = 0.5


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A corpus in service; `dead` are the documents that could not be ingested, so that no query finds them."""

    principal: Principal
    documents: int
    chunks: int
    dead: list[str]


@asynccontextmanager
async def corpus_in_service(
    services: Services, dataset: Dataset, *, language: str = "english", fresh: bool = False, keep: bool = False
) -> AsyncIterator[Loaded]:
    """Bring a corpus into service for as long as this lasts.

    One that stands complete from an earlier run is used and left, unless `fresh`, which loads it anew. What was
    loaded for this, or only completed, is removed at the end, unless `keep`; when the work fails it stays, for the
    next attempt.
    """
    slug = slug_of(services, dataset, language)
    if fresh:
        await _remove(services, slug)
    tenant = await _tenant(services, slug, dataset)
    complete = tenant.documents == len(dataset.documents)
    dead: list[str] = []
    if not complete:
        dead = await _load(services, TenantId(tenant.tenant_id), dataset.documents, language)
        async with services.database.control() as control:
            tenant = await tenant_by_slug(control, slug)
    async with operator_of(services.database, slug) as principal:
        yield Loaded(principal=principal, documents=tenant.documents, chunks=tenant.chunks, dead=dead)
    if not complete and not keep:
        await _remove(services, slug)


def slug_of(services: Services, dataset: Dataset, language: str) -> str:
    """The name of the tenant that holds a corpus as this release would chunk and embed it."""
    parts = [dataset.corpus_digest, language, CHUNKER_VERSION, services.encoder.fingerprint]
    return "eval-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


async def _tenant(services: Services, slug: str, dataset: Dataset) -> Tenant:
    async with services.database.control() as control:
        try:
            return await tenant_by_slug(control, slug)
        except NotFound:
            return await create_tenant(control, slug, name=f"evaluation of {dataset.name}")


async def _remove(services: Services, slug: str) -> None:
    async with services.database.control() as control:
        with suppress(NotFound):
            await delete_tenant(control, TenantId((await tenant_by_slug(control, slug)).tenant_id))


async def _load(services: Services, tenant: TenantId, documents: Sequence[Document], language: str) -> list[str]:
    async with services.database.tenant(tenant) as connection:
        with suppress(Conflict):
            await create_collection(connection, tenant, _COLLECTION, language=language)
    async with worker_at_hand(services):
        receipts = await _submit(services, tenant, documents)
        report = await run_load(Load(services, tenant, _COLLECTION, receipts=receipts), [])
    await _refresh(services, tenant)
    return [letter.external_id for letter in report.dead]


async def _submit(services: Services, tenant: TenantId, documents: Sequence[Document]) -> list[Receipt]:
    receipts: list[Receipt] = []
    for start in range(0, len(documents), _BATCH):
        async with services.database.tenant(tenant, timeout_s=60) as connection:
            version = (await read_writing(connection, tenant)).chunker_version
            for number, document in enumerate(documents[start : start + _BATCH], start):
                receipt = await submit(
                    connection,
                    services.delivery,
                    tenant,
                    _COLLECTION,
                    _submission(document),
                    chunker_version=version,
                    backlog=number,
                )
                receipts.append(receipt)
    return receipts


def _submission(document: Document) -> Submission:
    # A document of nothing but a title would have no chunk, and could not be found.
    return Submission(
        external_id=document.id,
        body=(document.text.strip() or document.title).encode(),
        media_type="text/plain",
        title=document.title or None,
        metadata=document.metadata,
    )


async def _refresh(services: Services, tenant: TenantId) -> None:
    # False may mean that a worker is at it, with a view from before the last document: look again for a while.
    for _ in range(_LOOKS):
        async with services.database.tenant(tenant, timeout_s=600) as connection:
            if await refresh_statistics(connection, tenant):
                return
        await asyncio.sleep(_LOOK_S)
