"""Runs are the one state of ingestion: what is asked twice, overtaken, given up or taken over ends as it should."""

import asyncio
import hashlib
from datetime import timedelta

import numpy as np
import pytest

from rag.domain import JobError
from rag.errors import Conflict, InterruptedDocument, NotFound
from rag.store.collections import create_collection, delete_collection
from rag.store.corpus import read_corpus
from rag.store.documents import delete_document, get_document, list_versions
from rag.store.ingestion import (
    Submission,
    cancel_job,
    fail,
    get_job,
    known_embeddings,
    list_jobs,
    open_runs,
    report,
    retry_job,
    some_jobs,
    submit,
    tally,
    totals,
)

ERROR = JobError("unreadable_document", "it will not parse", "parsing", "send another")


async def job(owner, receipt):
    async with owner.connect() as connection:
        return await get_job(connection, owner.tenant, receipt.job_id)


async def state(owner, receipt) -> str:
    return (await job(owner, receipt)).status


async def serving(owner, external_id: str) -> int | None:
    async with owner.connect() as connection:
        return (await get_document(connection, owner.tenant, "kb", external_id, acl=None)).version


async def sources(owner) -> int:
    async with owner.connect() as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM ingest_sources")).fetchone()
    return row["n"]


async def give_up(owner, run, *, as_state="failed") -> bool:
    async with owner.connect() as connection:
        return await fail(connection, owner.tenant, run, ERROR, state=as_state)


async def say(owner, run) -> None:
    async with owner.connect() as connection:
        await report(connection, owner.tenant, run, stage="embedding", done=1, total=2)


# ---------------------------------------------------------------- asking


async def test_the_same_again_is_the_same_job(acme):
    first = await acme.put("doc", "text", metadata={"a": 1, "b": 2}, groups=["x", "y"])
    again = await acme.put("doc", "text", metadata={"b": 2, "a": 1}, groups=["y", "x", "y"])
    assert again == first
    assert await sources(acme) == 1


async def test_after_success_the_same_again_is_unchanged(acme):
    first = await acme.serve("doc", "text")
    again = await acme.put("doc", "text")
    assert (again.document_id, again.version, again.job_id) == (first.document_id, 1, None)
    assert await sources(acme) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"title": "t"},
        {"uri": "u"},
        {"metadata": {"a": 1}},
        {"groups": ["staff"]},
    ],
)
async def test_whatever_differs_makes_a_new_version(change, acme):
    first = await acme.serve("doc", "text")
    second = await acme.serve("doc", **{"text": "text", **change})
    assert (second.document_id, second.version) == (first.document_id, 2)
    assert await serving(acme, "doc") == 2


async def test_a_new_chunker_makes_a_new_version_of_the_same_text(acme):
    submission = Submission(external_id="doc", body=b"text", media_type="text/markdown")
    await acme.serve("doc", "text")
    async with acme.connect() as connection:
        receipt = await submit(connection, acme.delivery, acme.tenant, "kb", submission, chunker_version="99")
    assert receipt.version == 2
    assert receipt.job_id is not None


async def test_going_back_to_what_serves_while_another_waits_makes_a_version_of_it(acme):
    await acme.serve("doc", "old")
    waiting = await acme.put("doc", "new")
    back = await acme.put("doc", "old")
    assert back.version == 3
    assert await state(acme, waiting) == "cancelled"


async def test_a_newer_version_supersedes_what_has_not_begun(acme):
    first = await acme.put("doc", "one")
    second = await acme.put("doc", "two")
    assert (await job(acme, first)).progress.stage == "superseded"
    assert [await state(acme, first), await state(acme, second)] == ["cancelled", "queued"]
    assert await acme.claim(first) is None
    assert await sources(acme) == 1


async def test_a_job_that_died_is_asked_for_anew(acme):
    first = await acme.put("doc", "text")
    await acme.kill(first)
    again = await acme.put("doc", "text")
    assert (again.document_id, again.version) == (first.document_id, 2)


async def test_the_bytes_of_a_job_that_cannot_be_retried_any_more_are_not_kept(acme):
    await acme.kill(await acme.put("doc", "secret"))
    await acme.serve("doc", "what may be known")
    assert await sources(acme) == 0


async def test_submissions_at_once_are_one_job(acme):
    receipts = await asyncio.gather(*(acme.put("doc", "text") for _ in range(6)))
    assert len({receipt.job_id for receipt in receipts}) == 1


async def test_versions_asked_for_at_once_are_numbered_apart(acme):
    receipts = await asyncio.gather(*(acme.put("doc", f"text {n}") for n in range(6)))
    assert sorted(receipt.version for receipt in receipts) == [1, 2, 3, 4, 5, 6]
    last = max(receipts, key=lambda receipt: receipt.version)
    states = {receipt.version: await state(acme, receipt) for receipt in receipts}
    assert states == {**dict.fromkeys(range(1, 6), "cancelled"), last.version: "queued"}


async def test_there_must_be_a_collection(acme):
    with pytest.raises(NotFound):
        await acme.put("doc", "text", collection="none")


# ---------------------------------------------------------------- attempts and their fence


async def test_a_claim_takes_the_bytes_and_counts_the_attempt(acme):
    receipt = await acme.put("doc", "text", metadata={"a": 1}, groups=["staff"])
    run = await acme.claim(receipt)
    assert (run.body, run.version, run.attempts, run.collection) == (b"text", 1, 1, "kb")
    assert run.request["metadata"] == {"a": 1}
    found = await job(acme, receipt)
    assert (found.status, found.progress.stage, found.attempts) == ("running", "parsing", 1)
    assert found.started_at is not None


async def test_an_attempt_that_was_taken_over_can_do_nothing(acme):
    receipt = await acme.put("doc", "text")
    stale = await acme.claim(receipt)
    fresh = await acme.claim(receipt)
    assert fresh.attempts == 2
    with pytest.raises(InterruptedDocument) as lost:
        await say(acme, stale)
    assert lost.value.reason == "lease_lost"
    assert not await give_up(acme, stale, as_state="dead")
    with pytest.raises(InterruptedDocument):
        await acme.finish(stale)
    assert await serving(acme, "doc") is None

    await say(acme, fresh)
    await acme.finish(fresh)
    assert await serving(acme, "doc") == 1
    assert await state(acme, receipt) == "succeeded"


async def test_an_attempt_that_is_late_for_its_own_success_changes_nothing(acme):
    receipt = await acme.put("doc", "text")
    stale = await acme.claim(receipt)
    await acme.finish(await acme.claim(receipt))
    with pytest.raises(Conflict):
        await acme.finish(stale)
    assert not await give_up(acme, stale)
    assert await state(acme, receipt) == "succeeded"
    assert await acme.claim(receipt) is None


async def test_a_failed_attempt_is_followed_by_another(acme):
    receipt = await acme.put("doc", "text")
    assert await give_up(acme, await acme.claim(receipt))
    found = await job(acme, receipt)
    assert (found.status, found.error, found.finished_at) == ("failed", ERROR, None)
    assert await acme.put("doc", "text") == receipt

    run = await acme.claim(receipt)
    assert run.attempts == 2
    assert (await job(acme, receipt)).error is None
    await acme.finish(run)
    assert await state(acme, receipt) == "succeeded"


async def test_a_dead_one_keeps_its_reason_and_its_bytes(acme):
    receipt = await acme.put("doc", "text")
    await acme.kill(receipt)
    found = await job(acme, receipt)
    assert (found.status, found.error.code) == ("dead", "unreadable_document")
    assert found.finished_at is not None
    assert await sources(acme) == 1
    assert await acme.claim(receipt) is None


async def test_progress_is_said_in_units(acme):
    receipt = await acme.put("doc", "text")
    await say(acme, await acme.claim(receipt))
    progress = (await job(acme, receipt)).progress
    assert (progress.stage, progress.done, progress.total) == ("embedding", 1, 2)


# ---------------------------------------------------------------- overtaken


async def test_an_older_version_never_replaces_a_newer_one(acme):
    first = await acme.put("doc", "one")
    slow = await acme.claim(first)
    await acme.serve("doc", "two, longer\n\nin two chunks")
    with pytest.raises(Conflict, match="later version"):
        await acme.finish(slow)
    assert await serving(acme, "doc") == 2
    assert await counts(acme) == (1, 2)


async def test_an_older_version_that_is_ready_first_serves_until_the_newer_one_is(acme):
    first = await acme.put("doc", "one")
    slow = await acme.claim(first)
    second = await acme.put("doc", "two")
    await acme.finish(slow)
    assert await serving(acme, "doc") == 1
    await acme.finish(await acme.claim(second))
    assert await serving(acme, "doc") == 2


async def test_a_document_deleted_meanwhile_does_not_come_back(acme):
    receipt = await acme.put("doc", "text")
    run = await acme.claim(receipt)
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "doc")
    with pytest.raises(Conflict, match="deleted"):
        await acme.finish(run)
    with pytest.raises(InterruptedDocument):
        await say(acme, run)
    assert await state(acme, receipt) == "cancelled"
    assert await counts(acme) == (0, 0)


async def test_deleting_one_that_waits_takes_it_off_the_queue(acme):
    receipt = await acme.put("doc", "text")
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "doc")
    assert (await job(acme, receipt)).progress.stage == "deleted"
    assert await acme.claim(receipt) is None
    assert await sources(acme) == 0
    again = await acme.serve("doc", "text")
    assert (again.version, again.document_id != receipt.document_id) == (1, True)


@pytest.mark.parametrize("end", ["dead", "cancelled"])
async def test_deleting_a_document_leaves_no_bytes_of_a_job_that_did_not_succeed(end, acme):
    receipt = await acme.put("doc", "secret")
    if end == "dead":
        await acme.kill(receipt)
    else:
        async with acme.connect() as connection:
            await cancel_job(connection, acme.tenant, receipt.job_id)
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "doc")
    assert await sources(acme) == 0


async def test_a_failing_write_leaves_the_old_version_serving(acme):
    await acme.serve("doc", "old text")
    run = await acme.claim(await acme.put("doc", "new text"))
    async with acme.connect() as connection:
        await cancel_job(connection, acme.tenant, run.run_id)
    with pytest.raises(InterruptedDocument):
        await acme.finish(run)
    assert await serving(acme, "doc") == 1
    async with acme.connect() as connection:
        rows = await (await connection.execute("SELECT text FROM chunks")).fetchall()
        versions = await list_versions(connection, acme.tenant, run.document_id)
    assert [row["text"] for row in rows] == ["old text"]
    assert [version.version for version in versions] == [1]
    assert await counts(acme) == (1, 1)


# ---------------------------------------------------------------- retry and cancel


async def test_a_dead_job_can_be_retried(acme):
    receipt = await acme.put("doc", "text")
    await acme.kill(receipt)
    async with acme.connect() as connection:
        again = await retry_job(connection, acme.delivery, acme.tenant, receipt.job_id)
    assert (again.job_id, again.status, again.attempts, again.error) == (receipt.job_id, "queued", 0, None)
    await acme.finish(await acme.claim(receipt))
    assert await serving(acme, "doc") == 1


async def test_a_cancelled_job_can_be_retried(acme):
    receipt = await acme.put("doc", "text")
    async with acme.connect() as connection:
        assert (await cancel_job(connection, acme.tenant, receipt.job_id)).status == "cancelled"
    assert await acme.claim(receipt) is None
    async with acme.connect() as connection:
        assert (await retry_job(connection, acme.delivery, acme.tenant, receipt.job_id)).status == "queued"


@pytest.mark.parametrize("at", ["queued", "running", "succeeded", "superseded", "deleted"])
async def test_other_jobs_cannot_be_retried(at, acme):
    receipt = await acme.put("doc", "text")
    if at in {"running", "succeeded"}:
        run = await acme.claim(receipt)
    if at == "succeeded":
        await acme.finish(run)
    if at == "superseded":
        await acme.put("doc", "newer")
    if at == "deleted":
        async with acme.connect() as connection:
            await delete_document(connection, acme.tenant, "kb", "doc")
    async with acme.connect() as connection:
        with pytest.raises(Conflict):
            await retry_job(connection, acme.delivery, acme.tenant, receipt.job_id)


async def test_a_dead_job_that_a_newer_version_replaced_cannot_be_retried(acme):
    first = await acme.put("doc", "one")
    await acme.kill(first)
    await acme.serve("doc", "two")
    async with acme.connect() as connection:
        with pytest.raises(Conflict):
            await retry_job(connection, acme.delivery, acme.tenant, first.job_id)


async def test_an_ended_job_cannot_be_cancelled(acme):
    done = await acme.serve("doc", "text")
    dead = await acme.put("other", "text")
    await acme.kill(dead)
    for receipt, word in ((done, "succeeded"), (dead, "dead")):
        async with acme.connect() as connection:
            with pytest.raises(Conflict, match=word):
                await cancel_job(connection, acme.tenant, receipt.job_id)


async def test_an_unknown_job_and_anothers_are_not_found_in_the_same_words(acme, bolt, absent_id):
    theirs = await bolt.put("doc", "text")
    said = set()
    async with acme.connect() as connection:
        for job_id in (theirs.job_id, absent_id):
            for ask in (get_job, cancel_job):
                with pytest.raises(NotFound) as refusal:
                    await ask(connection, acme.tenant, job_id)
                said.add(refusal.value.message)
            with pytest.raises(NotFound) as refusal:
                await retry_job(connection, acme.delivery, acme.tenant, job_id)
            said.add(refusal.value.message)
    assert len(said) == 1


# ---------------------------------------------------------------- lists and sums


async def test_jobs_are_listed_newest_first_and_paged(acme):
    receipts = [await acme.put(f"doc-{n}", f"text {n}") for n in range(5)]
    await acme.kill(receipts[2])
    async with acme.connect() as connection:
        listed = await list_jobs(connection, acme.tenant)
        first = await list_jobs(connection, acme.tenant, limit=2)
        rest = await list_jobs(connection, acme.tenant, before=(first[-1].created_at, first[-1].job_id))
        dead = await list_jobs(connection, acme.tenant, state="dead")
    assert [found.job_id for found in listed] == [receipt.job_id for receipt in reversed(receipts)]
    assert first + rest == listed
    assert [found.job_id for found in dead] == [receipts[2].job_id]


async def test_some_jobs_are_counted_by_state(acme, bolt, absent_id):
    waiting, done = await acme.put("a", "text a"), await acme.serve("b", "text b")
    theirs = await bolt.put("a", "text a")
    asked = [waiting.job_id, done.job_id, theirs.job_id, absent_id]
    async with acme.connect() as connection:
        assert await tally(connection, acme.tenant, asked) == {"queued": 1, "succeeded": 1}
        found = await some_jobs(connection, acme.tenant, asked)
        assert {one.job_id for one in found} == {waiting.job_id, done.job_id}
        assert await open_runs(connection, acme.tenant) == 1


async def test_totals_are_over_all_tenants(acme, bolt):
    await acme.put("a", "text a")
    await bolt.put("a", "text a")
    await bolt.serve("b", "text b")
    async with acme.database.control() as control:
        rows = await totals(control)
    assert {row["state"]: row["runs"] for row in rows} == {"queued": 2, "succeeded": 1}
    assert all(0 <= row["oldest_seconds"] < timedelta(hours=1).total_seconds() for row in rows)


# ---------------------------------------------------------------- what is reused


async def test_known_embeddings_are_the_tenants_own(acme, bolt):
    await acme.serve("doc", "shared text\n\nours alone")
    await bolt.serve("doc", "shared text\n\ntheirs alone")
    hashes = [digest(text) for text in ("shared text", "ours alone", "theirs alone", "nobody's")]

    async def known(owner) -> dict[bytes, np.ndarray]:
        async with owner.connect() as connection:
            return await known_embeddings(connection, owner.tenant, "minilm_l6_v2", hashes)

    ours = await known(acme)
    assert ours.keys() == set(hashes[:2])
    assert (await known(bolt)).keys() == {hashes[0], hashes[2]}
    (vector,) = acme.embed(["ours alone"])
    assert ours[hashes[1]] == pytest.approx(vector, abs=1e-3)
    assert ours[hashes[1]].dtype == np.float32


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def test_groups_and_metadata_change_with_the_version(acme):
    await acme.serve("doc", "text", groups=["staff"], metadata={"a": 1})
    async with acme.connect() as connection:
        before = await read_corpus(connection, acme.principal)
    await acme.serve("doc", "text", groups=[], metadata={"a": 2})
    async with acme.connect() as connection:
        after = await read_corpus(connection, acme.principal)
        found = await get_document(connection, acme.tenant, "kb", "doc", acl=after.acl_ids)
        rows = await (await connection.execute("SELECT acl_id FROM embeddings_minilm_l6_v2")).fetchall()
    assert (found.groups, found.metadata) == ([], {"a": 2})
    assert after.corpus_version > before.corpus_version
    assert {row["acl_id"] for row in rows} <= set(after.acl_ids)


async def test_a_collection_made_again_under_the_name_takes_no_old_run(acme):
    run = await acme.claim(await acme.put("doc", "text"))
    async with acme.connect() as connection:
        await delete_collection(connection, acme.tenant, "kb")
        await create_collection(connection, acme.tenant, "kb")
    with pytest.raises(Conflict):
        await acme.finish(run)
    assert await counts(acme) == (0, 0)


async def counts(owner) -> tuple[int, int]:
    """Documents and chunks as the collection counts them; the corpus and the rows themselves agree."""
    async with owner.connect() as connection:
        row = await (
            await connection.execute(
                "SELECT (SELECT sum(document_count)::int FROM collections) AS documents, "
                "(SELECT sum(chunk_count)::int FROM collections) AS chunks, "
                "(SELECT chunk_count::int FROM corpora) AS corpus, (SELECT count(*)::int FROM chunks) AS rows, "
                "(SELECT sum(chunk_count)::int FROM documents) AS of_documents, "
                "(SELECT count(*)::int FROM documents WHERE current_version > 0) AS serving"
            )
        ).fetchone()
    assert row["chunks"] == row["corpus"] == row["rows"] == (row["of_documents"] or 0)
    assert row["documents"] == row["serving"]
    return row["documents"], row["chunks"]


def test_a_fingerprint_is_of_everything_that_makes_the_version():
    plain = Submission(external_id="doc", body=b"text")
    same = Submission(external_id="another", body=b"text", filename="a")
    assert plain.fingerprint("1") == same.fingerprint("1")
    others = [
        Submission(external_id="doc", body=b"other"),
        Submission(external_id="doc", body=b"text", media_type="text/html"),
        Submission(external_id="doc", body=b"text", title="t"),
        Submission(external_id="doc", body=b"text", uri="t"),
        Submission(external_id="doc", body=b"text", metadata={"t": None}),
        Submission(external_id="doc", body=b"text", groups=["t"]),
        Submission(external_id="doc", body=b"text", filename="a.md"),
    ]
    prints = {plain.fingerprint("1"), plain.fingerprint("2"), *(other.fingerprint("1") for other in others)}
    assert len(prints) == 2 + len(others)
