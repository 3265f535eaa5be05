"""A bulk load: files in, jobs queued a batch at a time, followed until each has ended."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from ingest.failures import describe
from ingest.source import SourceFile, read_source
from rag.domain import Job, JobError, JobState, TenantId
from rag.errors import CloisterError, Conflict
from rag.services import Services
from rag.store.collections import create_collection
from rag.store.corpus import read_writing
from rag.store.ingestion import Receipt, Submission, open_runs, some_jobs, submit, tally

T = TypeVar("T")

_BATCH: Final = 50
_LOOK_S: Final = 0.4
_ENDED: Final[frozenset[JobState]] = frozenset({"succeeded", "dead", "cancelled"})


class DeadLetter(msgspec.Struct, frozen=True):
    """A document that could not be ingested, and why."""

    external_id: str
    job_id: UUID | None
    error: JobError


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a load, document by document where it matters."""

    queued: int
    succeeded: int
    unchanged: int
    cancelled: int
    dead: list[DeadLetter]


class Step(msgspec.Struct, frozen=True):
    """How far a load is: documents ended of all, those dead among them."""

    done: int
    total: int
    dead: int


class Load:
    """One load into one collection of one tenant."""

    def __init__(
        self, services: Services, tenant: TenantId, collection: str, *, receipts: Sequence[Receipt] = ()
    ) -> None:
        self._services = services
        self._tenant = tenant
        self._collection = collection
        self._jobs: list[UUID] = []
        self._unchanged = 0
        self._dead: list[DeadLetter] = []
        for receipt in receipts:
            self._count(receipt)

    async def queue(self, files: Sequence[SourceFile], *, follow: Callable[[Step], None]) -> None:
        """Hand the files in; one that cannot be read is a dead letter, and the others go on."""
        await self._make_collection()
        async with self._services.database.tenant(self._tenant) as connection:
            backlog = await open_runs(connection, self._tenant)
        for batch in _batches(files, _BATCH):
            submissions = list(self._read(batch))
            async with self._services.database.tenant(self._tenant, timeout_s=60) as connection:
                version = (await read_writing(connection, self._tenant)).chunker_version
                for submission in submissions:
                    receipt = await submit(
                        connection,
                        self._services.delivery,
                        self._tenant,
                        self._collection,
                        submission,
                        chunker_version=version,
                        backlog=backlog,
                    )
                    backlog += 1
                    self._count(receipt)
            follow(Step(self._unchanged + len(self._dead), len(files), len(self._dead)))

    async def finish(self, *, follow: Callable[[Step], None]) -> LoadReport:
        """Wait until every job has ended, and report."""
        total = len(self._jobs) + self._unchanged + len(self._dead)
        counts: Counter[JobState] = Counter()
        while True:
            counts = await self._tally()
            ended = sum(counts[state] for state in _ENDED)
            settled = self._unchanged + len(self._dead)
            follow(Step(settled + ended, total, len(self._dead) + counts["dead"]))
            if ended == len(self._jobs):
                break
            await asyncio.sleep(_LOOK_S)
        return LoadReport(
            queued=len(self._jobs),
            succeeded=counts["succeeded"],
            unchanged=self._unchanged,
            cancelled=counts["cancelled"],
            dead=[*self._dead, *(self._letter(job) for job in await self._ended_dead())],
        )

    def _count(self, receipt: Receipt) -> None:
        if receipt.job_id is None:
            self._unchanged += 1
        else:
            self._jobs.append(receipt.job_id)

    def _read(self, batch: Sequence[SourceFile]) -> Iterator[Submission]:
        for file in batch:
            try:
                body = read_source(file, max_bytes=self._services.settings.max_document_bytes)
            except CloisterError as error:
                self._dead.append(DeadLetter(file.external_id, None, describe(error, "reading")))
            else:
                yield Submission(external_id=file.external_id, body=body, filename=file.path.name)

    async def _make_collection(self) -> None:
        async with self._services.database.tenant(self._tenant) as connection:
            try:
                await create_collection(connection, self._tenant, self._collection)
            except Conflict:
                return

    async def _tally(self) -> Counter[JobState]:
        counts: Counter[JobState] = Counter()
        for part in _batches(self._jobs, 5_000):
            async with self._services.database.tenant(self._tenant) as connection:
                counts.update(await tally(connection, self._tenant, part))
        return counts

    async def _ended_dead(self) -> list[Job]:
        found: list[Job] = []
        for part in _batches(self._jobs, 5_000):
            async with self._services.database.tenant(self._tenant) as connection:
                found += await some_jobs(connection, self._tenant, part)
        return [job for job in found if job.status == "dead"]

    @staticmethod
    def _letter(job: Job) -> DeadLetter:
        error = job.error or JobError("unknown", "the reason was not recorded", job.progress.stage)
        return DeadLetter(job.external_id, job.job_id, error)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
