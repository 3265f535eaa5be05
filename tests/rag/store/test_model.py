"""Random operations over two tenants, beside a dict that says what each of them should come to."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from rag.domain import JobError
from rag.errors import CloisterError, Conflict, InterruptedDocument, NotFound
from rag.store.corpus import read_corpus, refresh_statistics
from rag.store.documents import delete_document, list_documents
from rag.store.ingestion import Run, cancel_job, fail, list_jobs
from rag.store.search import SearchScope, lexical_leg, lexical_plan

NAMES = ["a", "b", "c"]
WORDS = ["brake", "wheel", "lever", "cable", "saddle"]
ERROR = JobError("interrupted", "the attempt died", "parsing")


@dataclass
class Open:
    """A run that has not ended: what it holds, and the attempt that has it, if one has."""

    version: int
    text: str
    receipt: Any
    attempt: Run | None = None


@dataclass
class Model:
    """What a tenant should have."""

    serving: dict[str, tuple[int, str]] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)
    open: dict[str, list[Open]] = field(default_factory=dict)
    writes: int = 0

    def newest_open(self, name: str) -> Open | None:
        runs = self.open.get(name, [])
        return next((run for run in runs if run.version == self.latest[name]), None)

    def held(self) -> list[tuple[str, Open]]:
        return [(name, run) for name, runs in self.open.items() for run in runs if run.attempt]


class Walk:
    """One tenant's operations, each done to the database and to the model."""

    def __init__(self, owner: Any, rng: random.Random) -> None:
        self.owner, self.rng, self.model = owner, rng, Model()
        self.stale: list[Run] = []

    def text(self) -> str:
        paragraphs = self.rng.randint(1, 3)
        return "\n\n".join(" ".join(self.rng.choices(WORDS, k=3)) for _ in range(paragraphs))

    async def put(self) -> None:
        name, model = self.rng.choice(NAMES), self.model
        newest = model.newest_open(name)
        served = model.serving.get(name)
        # Half of the time the same again, to see that it changes nothing.
        again = newest.text if newest else served[1] if served else None
        text = again if again and self.rng.random() < 0.5 else self.text()
        receipt = await self.owner.put(name, text)
        if newest and newest.text == text:
            assert receipt == newest.receipt
        elif not newest and served and served[1] == text:
            assert (receipt.version, receipt.job_id) == (served[0], None)
        else:
            model.latest[name] = model.latest.get(name, 0) + 1
            assert receipt.version == model.latest[name]
            running = [run for run in model.open.get(name, []) if run.attempt]
            model.open[name] = [*running, Open(receipt.version, text, receipt)]

    async def begin(self) -> None:
        waiting = [run for runs in self.model.open.values() for run in runs]
        if waiting:
            run = self.rng.choice(waiting)
            if run.attempt:
                self.stale.append(run.attempt)
            run.attempt = await self.owner.claim(run.receipt)
            assert run.attempt.body.decode() == run.text

    async def finish(self) -> None:
        if not (held := self.model.held()):
            return
        name, run = self.rng.choice(held)
        self.model.open[name].remove(run)
        if self.model.serving.get(name, (0, ""))[0] > run.version:
            with pytest.raises(Conflict):
                await self.owner.finish(run.attempt)
            await self.give_up(run.attempt, "cancelled")
        else:
            await self.owner.finish(run.attempt)
            self.model.serving[name] = (run.version, run.text)
            self.model.writes += 1

    async def finish_too_late(self) -> None:
        if self.stale:
            with pytest.raises((Conflict, InterruptedDocument)):
                await self.owner.finish(self.stale.pop())

    async def fail(self) -> None:
        if not (held := self.model.held()):
            return
        name, run = self.rng.choice(held)
        state = self.rng.choice(["failed", "dead"])
        await self.give_up(run.attempt, state)
        self.stale.append(run.attempt)
        run.attempt = None
        if state == "dead":  # a failed one is tried again, even if a later version waits: that one may never be ready
            self.model.open[name].remove(run)

    async def give_up(self, attempt: Run, state: str) -> None:
        async with self.owner.connect() as connection:
            assert await fail(connection, self.owner.tenant, attempt, ERROR, state=state)

    async def cancel(self) -> None:
        runs = [(name, run) for name, found in self.model.open.items() for run in found]
        if not runs:
            return
        name, run = self.rng.choice(runs)
        async with self.owner.connect() as connection:
            await cancel_job(connection, self.owner.tenant, run.receipt.job_id)
        self.model.open[name].remove(run)
        if run.attempt:
            self.stale.append(run.attempt)

    async def delete(self) -> None:
        name, model = self.rng.choice(NAMES), self.model
        async with self.owner.connect() as connection:
            if name not in model.latest:
                with pytest.raises(NotFound):
                    await delete_document(connection, self.owner.tenant, "kb", name)
                return
            await delete_document(connection, self.owner.tenant, "kb", name)
        self.stale += [run.attempt for run in model.open.pop(name, []) if run.attempt]
        del model.latest[name]
        model.serving.pop(name, None)
        model.writes += 1

    async def refresh(self) -> None:
        async with self.owner.connect() as connection:
            await refresh_statistics(connection, self.owner.tenant)

    async def check(self) -> None:
        owner, model = self.owner, self.model
        texts = sorted(part for _, text in model.serving.values() for part in text.split("\n\n"))
        async with owner.connect(snapshot=True) as connection:
            corpus = await read_corpus(connection, owner.principal)
            documents = await list_documents(connection, owner.tenant, "kb", acl=None)
            jobs = await list_jobs(connection, owner.tenant, limit=1000)
            rows = await (await connection.execute("SELECT text FROM chunks")).fetchall()
            sources = await (await connection.execute("SELECT run_id FROM ingest_sources")).fetchall()
            found = await self.search(connection, corpus)
        assert {d.external_id: d.version for d in documents} == {
            name: model.serving[name][0] if name in model.serving else None for name in model.latest
        }
        assert sorted(row["text"] for row in rows) == texts
        assert corpus.chunk_count == corpus.collections[0].chunk_count == len(texts)
        assert sum(d.chunk_count for d in documents) == len(texts)
        assert corpus.corpus_version == 1 + model.writes
        assert found == sum("brake" in text for text in texts)
        open_jobs = {job.job_id for job in jobs if job.status in {"queued", "running", "failed"}}
        assert open_jobs == {run.receipt.job_id for runs in model.open.values() for run in runs}
        assert open_jobs <= {row["run_id"] for row in sources}

    async def search(self, connection: Any, corpus: Any) -> int:
        plan = await lexical_plan(connection, self.owner.tenant, "brake", ["english"])
        scope = SearchScope.of(self.owner.tenant, corpus, None, None)
        return len(await lexical_leg(connection, scope, plan, limit=100))


@pytest.mark.parametrize("seed", range(4))
async def test_two_tenants_come_to_what_was_done_to_each(seed, acme, bolt):
    rng = random.Random(seed)  # noqa: S311 - the same walk at every run
    walks = [Walk(acme, rng), Walk(bolt, rng)]
    steps = {"put": 5, "begin": 4, "finish": 4, "finish_too_late": 1, "fail": 1, "cancel": 1, "delete": 1, "refresh": 1}
    done = []
    for step in rng.choices(list(steps), list(steps.values()), k=400):
        walk = rng.choice(walks)
        done.append((walk.owner.principal.slug, step))
        try:
            await getattr(walk, step)()
        except CloisterError as error:
            raise AssertionError(done) from error
        await walk.check()
    for walk in walks:
        await walk.check()
    assert all(walk.model.writes > 15 for walk in walks), "a walk that went nowhere shows nothing"
