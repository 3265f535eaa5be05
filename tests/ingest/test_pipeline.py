"""A document's way into service, with the real encoder, database and parser."""

from uuid import UUID

import pytest

from ingest.failures import TryAgain
from ingest.pipeline import Tools, ingest_document
from ingest.sandbox import Sandbox
from rag.domain import Job, Mode, Query
from rag.errors import DatabaseUnavailable
from rag.store.documents import delete_document, version_text
from rag.store.ingestion import get_job
from tests.conftest import House, drain

RETURNS = """# Returns

## Unused items

A zebrafork can be returned within 41 days of delivery when it is unused. Refunds reach the card in six working days.

## Used items

Used zebraforks are repaired free of charge for three years.
"""


async def job_of(house: House, job: UUID | None) -> Job:
    assert job is not None
    async with house.services.database.tenant(house.tenant) as connection:
        return await get_job(connection, house.tenant, job)


async def texts(house: House, query: str, mode: Mode = "hybrid") -> list[str]:
    result = await house.services.searcher.search(house.principal, Query(text=query, mode=mode, limit=100))
    return [hit.text for hit in result.hits]


async def rows(house: House, table: str) -> int:
    async with house.services.database.tenant(house.tenant) as connection:
        row = await (await connection.execute(f"SELECT count(*) AS n FROM {table}")).fetchone()
    assert row is not None
    return int(row["n"])


async def test_a_document_is_found_and_its_chunks_are_slices_of_the_stored_text(house: House):
    (receipt,) = await house.ingest({"returns": RETURNS})
    assert (await job_of(house, receipt.job_id)).status == "succeeded"
    async with house.services.database.tenant(house.tenant) as connection:
        text = await version_text(connection, house.tenant, receipt.document_id, receipt.version)
        cursor = await connection.execute("SELECT text, span_start, span_end, piece_count FROM chunks")
        chunks = await cursor.fetchall()
        sentences = await (
            await connection.execute(
                "SELECT s.span_start, s.span_end, c.span_start AS first, c.span_end AS last "
                "FROM chunk_sentences_minilm_l6_v2 s JOIN chunks c USING (tenant_id, chunk_id)"
            )
        ).fetchall()
    assert chunks
    assert all(chunk["text"] == text[chunk["span_start"] : chunk["span_end"]] for chunk in chunks)
    assert all(0 < chunk["piece_count"] <= 254 for chunk in chunks)
    assert all(s["first"] <= s["span_start"] < s["span_end"] <= s["last"] for s in sentences)
    assert "41 days" in (await texts(house, "how long can I return a zebrafork"))[0]


async def test_unchanged_content_does_nothing(house: House):
    await house.ingest({"returns": RETURNS})
    before = await rows(house, "document_versions")
    (again,) = await house.ingest({"returns": RETURNS})
    assert again.job_id is None
    assert again.version == 1
    assert await rows(house, "document_versions") == before == 1


async def test_the_same_document_handed_in_twice_is_one_job(house: House):
    first = await house.put("returns", RETURNS)
    second = await house.put("returns", RETURNS)
    assert first.job_id == second.job_id


async def test_changed_content_replaces_the_old_version_and_outdates_the_cache(house: House):
    await house.ingest({"gh": "The password of the greenhouse is mango."})
    assert any("mango" in text for text in await texts(house, "greenhouse password"))
    (changed,) = await house.ingest({"gh": "The password of the greenhouse is papaya."})
    assert changed.version == 2
    found = await texts(house, "greenhouse password")
    assert any("papaya" in text for text in found)
    assert not any("mango" in text for text in found)


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
async def test_delete_removes_everything_but_the_record_of_the_job(house: House, mode: Mode):
    await house.ingest({"returns": RETURNS})
    async with house.services.database.tenant(house.tenant) as connection:
        await delete_document(connection, house.tenant, "kb", "returns")
    assert await texts(house, "zebrafork", mode) == []
    for table in ("documents", "document_versions", "chunks", "chunk_lexemes", "embeddings_minilm_l6_v2",
                  "chunk_sentences_minilm_l6_v2", "ingest_sources"):  # fmt: skip
        assert await rows(house, table) == 0, table


async def test_only_new_content_is_embedded(house: House):
    await house.ingest({"one": RETURNS})
    await house.ingest({"two": RETURNS})
    async with house.services.database.tenant(house.tenant) as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS copies, count(DISTINCT e.embedding) AS vectors "
            "FROM chunks c JOIN embeddings_minilm_l6_v2 e USING (tenant_id, chunk_id) GROUP BY c.content_sha256"
        )
        found = await cursor.fetchall()
    assert {(row["copies"], row["vectors"]) for row in found} == {(2, 1)}


async def test_a_document_that_cannot_be_read_is_dead_at_once_with_a_reason(house: House):
    receipt = await house.put("bad", "\x00\x01\x02\x03" * 500)
    await drain(house.services)
    job = await job_of(house, receipt.job_id)
    assert job.status == "dead"
    assert job.attempts == 1
    assert job.error is not None
    assert job.error.code
    assert job.error.hint
    assert "Traceback" not in job.error.message


async def test_a_later_version_wins_whichever_attempt_ends_first(house: House):
    older = await house.put("d", "Version one of the text.")
    tools = Tools(house.services.database, house.services.encoder, Sandbox(), max_attempts=3)
    newer = await house.put("d", "Version two of the text.")
    assert older.job_id is not None
    assert newer.job_id is not None
    try:
        assert await ingest_document(tools, house.tenant, newer.job_id)
        assert not await ingest_document(tools, house.tenant, older.job_id)
    finally:
        await tools.sandbox.close()
    assert await texts(house, "version of the text") == ["Version two of the text."]
    assert (await job_of(house, older.job_id)).status == "cancelled"


class _AwayOnce:
    """The real encoder, once out of reach."""

    def __init__(self, encoder: object) -> None:
        self._encoder = encoder
        self._away = True

    def __getattr__(self, name: str) -> object:
        if name == "embed" and self._away:
            self._away = False
            return self._fail
        return getattr(self._encoder, name)

    async def _fail(self, _texts: object) -> None:
        raise DatabaseUnavailable("away for a moment")


async def test_a_transient_failure_is_recorded_tried_again_and_then_succeeds(house: House):
    receipt = await house.put("d", RETURNS)
    assert receipt.job_id is not None
    tools = Tools(house.services.database, _AwayOnce(house.services.encoder), Sandbox(), max_attempts=3)
    try:
        with pytest.raises(TryAgain):
            await ingest_document(tools, house.tenant, receipt.job_id)
        failed = await job_of(house, receipt.job_id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert await ingest_document(tools, house.tenant, receipt.job_id)
    finally:
        await tools.sandbox.close()
    done = await job_of(house, receipt.job_id)
    assert (done.status, done.attempts, done.error) == ("succeeded", 2, None)
