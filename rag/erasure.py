"""Erasure, step by step: the page.

    tenant    close it to everyone -> queue -> each store in batches -> cache -> keys and the tenant's own row
    document  document, versions, chunks, vectors, runs, answers at once -> groups -> word statistics -> cache
    user      wait for answers under way -> questions and answers in batches -> cache

Each step is one short transaction that also records what it removed and which step is next: an erasure that is
killed anywhere goes on from there, by whoever asks for it again or by a worker.
"""

import time
from typing import Final
from uuid import UUID

from rag.cache.base import Cache
from rag.domain import Erasure, ErasureKind, TenantId
from rag.errors import NotFound, WriteConflict
from rag.store import erasure as store
from rag.store.approvals import require_approval
from rag.store.database import Database, TenantConnection
from rag.store.erasure import CACHE, Store, Task
from rag.store.tenants import deletion, tenant_by_slug
from rag.telemetry import ROWS_REMOVED, log

_FIRST: Final[dict[ErasureKind, str]] = {"tenant": "queue", "document": "document", "user": "writes"}
_AFTER: Final = {
    "document": "groups",
    "groups": "statistics",
    "statistics": CACHE,
    "writes": "answers",
    "answers": CACHE,
}
_LAST: Final = "end"
_WAIT_S: Final = 150.0  # a write of an ingestion may take 120
_SLOW_S: Final = 600.0  # counting a large tenant's words anew


class Eraser:
    """Erases tenants, documents and people's questions; every process may go on with what another began."""

    def __init__(self, database: Database, cache: Cache, *, approvals_required: bool, batch: int = 2_000) -> None:
        self._database = database
        self._cache = cache
        self._approvals_required = approvals_required
        self._batch = batch

    async def begin_tenant(self, slug: str, *, approval: UUID | None = None) -> Erasure:
        """Close a tenant for good: from the commit on, whatever asks for it is told `tenant_erased`.

        Every way to delete a tenant begins here. Waits for its writes under way. Raises `ApprovalRequired`, but not
        for an erasure that has begun, and `NotFound`.
        """
        tenant = await self._tenant(slug)
        async with self._database.control(timeout_s=_WAIT_S) as connection:
            await store.stores_of(connection)
            begun = await store.open_erasures(connection, tenant=tenant)
            if closed := next((erasure for erasure in begun if erasure.kind == "tenant"), None):
                return closed
            by, required = self._database.by, self._approvals_required
            await require_approval(connection, deletion(tenant), by=by, approval=approval, required=required)
            made = await store.close_tenant(connection, tenant, slug, step=_FIRST["tenant"], by=by)
        if made is None:
            raise WriteConflict("the tenant's erasure has just begun", retry_after=0.5)
        return await self.get(made)

    async def begin_document(self, slug: str, collection: str, external_id: str) -> Erasure:
        """Begin to erase a document; raises `NotFound` when the tenant knows nothing of it."""
        tenant = await self._tenant(slug)
        subject = {"collection": collection, "external_id": external_id}
        async with self._database.tenant(tenant) as connection:
            await store.stores_of(connection)
            begun = await store.open_erasure(connection, tenant, "document", subject)
            if begun is None and not await store.document_ids(connection, tenant, collection, external_id):
                raise NotFound(f"no document '{external_id}' in '{collection}', and no job of one")
            begun = begun or await store.begin(connection, tenant, "document", subject, step=_FIRST["document"])
        return await self.get(begun)

    async def begin_user(self, slug: str, user: str) -> Erasure:
        """Begin to erase what a person asked and was answered; a person nobody knows leaves a receipt of zeros."""
        tenant = await self._tenant(slug)
        async with self._database.tenant(tenant) as connection:
            await store.stores_of(connection)
            begun = await store.open_erasure(connection, tenant, "user", {"user": user})
            begun = begun or await store.begin(connection, tenant, "user", {"user": user}, step=_FIRST["user"])
        return await self.get(begun)

    async def get(self, erasure: UUID) -> Erasure:
        """How far an erasure is, or its receipt; raises `NotFound`."""
        async with self._database.control() as connection:
            return await store.get_erasure(connection, erasure)

    async def run(self, erasure: Erasure, *, within_s: float | None = None) -> Erasure:
        """Go on until it is finished, or until `within_s` have passed."""
        until = None if within_s is None else time.monotonic() + within_s
        while erasure.state == "running" and (until is None or time.monotonic() < until):
            erasure = await self.advance(erasure)
        return erasure

    async def advance(self, erasure: Erasure) -> Erasure:
        """Take the next step, or a batch of it; raises `CacheUnavailable` while the cache cannot be swept."""
        tenant = TenantId(erasure.tenant_id)
        swept = await self._cache.forget(str(tenant)) if erasure.step == CACHE else 0
        async with self._database.tenant(tenant, erased=True, timeout_s=_SLOW_S) as connection:
            task = await store.lock(connection, tenant, erasure.erasure_id)
            if task and (task.step != CACHE or erasure.step == CACHE):
                await self._step(connection, task, swept)
        found = await self.get(erasure.erasure_id)
        if task and found.state == "finished":
            log.info(
                "erased", kind=found.kind, erasure=str(found.erasure_id), rows=sum(s.removed for s in found.stores)
            )
        return found

    async def _tenant(self, slug: str) -> TenantId:
        async with self._database.control() as connection:
            return TenantId((await tenant_by_slug(connection, slug)).tenant_id)

    async def _step(self, connection: TenantConnection, task: Task, swept: int) -> None:
        stores = await store.stores_of(connection)
        if task.step == _LAST:
            await self._finish(connection, task, stores)
            return
        if task.step == CACHE:
            after = task.having({CACHE: swept}, step=_LAST)
        elif task.kind == "tenant":
            after = await self._tenant_step(connection, task, stores)
        elif task.kind == "document":
            after = await self._document_step(connection, task, stores)
        else:
            after = await self._user_step(connection, task)
        await store.move_on(connection, after)
        _measure(task, after)

    async def _tenant_step(self, connection: TenantConnection, task: Task, stores: list[Store]) -> Task:
        order = ["queue", *(s.table for s in stores if not (s.by_owner or s.kept)), CACHE]
        # A step that another release knew and this one does not: begin anew, what is gone costs nothing.
        place = order.index(task.step) if task.step in order else 0
        if place == 0:
            return task.having(await store.clear_queue(connection, task.tenant_id), step=order[1])
        table = next(s for s in stores if s.table == task.step)
        removed = await store.clear_batch(connection, task.tenant_id, table, self._batch)
        full = removed[table.table] >= self._batch
        return task.having(removed, step=task.step if full else order[place + 1])

    async def _document_step(self, connection: TenantConnection, task: Task, stores: list[Store]) -> Task:
        tenant, subject = task.tenant_id, task.subject
        if task.step == "document":
            found = await store.document_ids(connection, tenant, subject["collection"], subject["external_id"])
            removed = await store.clear_document(connection, tenant, found, stores)
            subject = {"documents": [str(document) for document in found]}
        elif task.step == "groups":
            removed = await store.clear_unused_groups(connection, tenant)
        else:
            removed = await store.clear_statistics(connection, tenant)
        return task.having(removed, step=_AFTER[task.step], subject=subject)

    async def _user_step(self, connection: TenantConnection, task: Task) -> Task:
        if task.step == "writes":  # an answer that began to be kept before this erasure did is there after this
            await store.await_writes(connection, task.tenant_id)
            return task.having({}, step=_AFTER[task.step])
        removed = await store.clear_user_batch(connection, task.tenant_id, task.subject["user"], self._batch)
        full = removed["answers"] >= self._batch
        return task.having(removed, step=task.step if full else _AFTER[task.step])

    async def _finish(self, connection: TenantConnection, task: Task, stores: list[Store]) -> None:
        tenant, after = task.tenant_id, task
        if task.kind == "tenant":
            removed, remaining = await store.clear_tenant(connection, tenant, stores)
            after = task.having(removed)
        elif task.kind == "document":
            documents = [UUID(document) for document in task.subject["documents"]]
            remaining = await store.document_remaining(connection, tenant, documents, stores)
        else:
            remaining = await store.user_remaining(connection, tenant, task.subject["user"])
        await store.finish(connection, after, remaining)
        _measure(task, after)


def _measure(before: Task, after: Task) -> None:
    for name, removed in after.removed.items():
        ROWS_REMOVED.labels(name, "erasure").inc(removed - before.removed.get(name, 0))
