import asyncio

import msgspec
import pytest

from rag.errors import Conflict, InvalidInput, NotFound
from rag.store.collections import (
    LANGUAGES,
    CollectionChange,
    create_collection,
    delete_collection,
    get_collection,
    list_collections,
    locate_collection,
    update_collection,
)
from rag.store.corpus import read_corpus
from rag.store.ingestion import get_job


async def test_a_collection_is_made_empty(acme):
    async with acme.connect() as connection:
        made = await create_collection(
            connection, acme.tenant, "shop", language="german", refusal_threshold=0.25, facet_fields=["brand"]
        )
        assert await get_collection(connection, acme.tenant, "shop") == made
        assert (await locate_collection(connection, acme.tenant, "shop"))[1] == "german"
    assert (made.document_count, made.chunk_count, made.refusal_threshold) == (0, 0, 0.25)


async def test_a_name_is_taken_once_a_tenant(acme, bolt):
    async with acme.connect() as connection:
        with pytest.raises(Conflict):
            await create_collection(connection, acme.tenant, "kb")
        await create_collection(connection, acme.tenant, "shop")
    async with bolt.connect() as connection:
        await create_collection(connection, bolt.tenant, "shop")


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ä", "a" * 64, "a\n"])
async def test_other_names_are_refused(name, acme):
    async with acme.connect() as connection:
        with pytest.raises(InvalidInput) as refusal:
            await create_collection(connection, acme.tenant, name)
    assert refusal.value.pointer == "/name"


@pytest.mark.parametrize("language", ["klingon", "English", "", "pg_catalog.english"])
async def test_other_languages_are_refused(language, acme):
    async with acme.connect() as connection:
        with pytest.raises(InvalidInput) as refusal:
            await create_collection(connection, acme.tenant, "shop", language=language)
    assert refusal.value.pointer == "/language"


async def test_every_language_on_the_list_is_known_to_the_server(acme):
    async with acme.connect() as connection:
        rows = await (
            await connection.execute(
                "SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = 'cloister'::regnamespace ORDER BY 1"
            )
        ).fetchall()
    assert {row["cfgname"] for row in rows} == LANGUAGES


async def test_collections_are_paged_by_name(acme):
    async with acme.connect() as connection:
        for name in ("c", "a", "b", "D"):
            await create_collection(connection, acme.tenant, name)
        names = [c.name for c in await list_collections(connection, acme.tenant)]
        first = await list_collections(connection, acme.tenant, limit=2)
        rest = await list_collections(connection, acme.tenant, after=first[-1].name)
    assert names == sorted(names)
    assert [c.name for c in (*first, *rest)] == names


async def test_a_change_leaves_what_it_does_not_name(acme):
    async with acme.connect() as connection:
        change = CollectionChange(refusal_threshold=0.75, facet_fields=["brand"])
        await update_collection(connection, acme.tenant, "kb", change)
        kept = await update_collection(connection, acme.tenant, "kb", CollectionChange())
        assert (kept.refusal_threshold, kept.facet_fields) == (0.75, ["brand"])
        unset = await update_collection(connection, acme.tenant, "kb", CollectionChange(refusal_threshold=None))
        assert (unset.refusal_threshold, unset.facet_fields) == (None, ["brand"])
        empty = await update_collection(connection, acme.tenant, "kb", CollectionChange(facet_fields=[]))
        assert empty.facet_fields == []


async def test_what_is_absent_or_anothers_is_not_found_in_the_same_words(acme, bolt):
    async with bolt.connect() as connection:
        await create_collection(connection, bolt.tenant, "den")
    said = []
    async with acme.connect() as connection:
        for name in ("den", "gone"):
            for ask in (get_collection, locate_collection, delete_collection):
                with pytest.raises(NotFound) as refusal:
                    await ask(connection, acme.tenant, name)
                said.append(refusal.value.message.replace(name, "…"))
            with pytest.raises(NotFound) as refusal:
                await update_collection(connection, acme.tenant, name, CollectionChange(facet_fields=[]))
            said.append(refusal.value.message.replace(name, "…"))
    assert len(set(said)) == 1


async def test_deleting_one_takes_its_documents_and_its_open_runs(acme):
    async with acme.connect() as connection:
        await create_collection(connection, acme.tenant, "shop")
    await acme.serve("kept", "brake")
    await acme.serve("gone", "lever\n\nwheel", collection="shop")
    queued = await acme.put("queued", "cable", collection="shop")
    async with acme.connect() as connection:
        before = await read_corpus(connection, acme.principal)
        await delete_collection(connection, acme.tenant, "shop")
        after = await read_corpus(connection, acme.principal)
        job = await get_job(connection, acme.tenant, queued.job_id)
        left = await (
            await connection.execute(
                "SELECT (SELECT count(*) FROM chunks) AS chunks, (SELECT count(*) FROM documents) AS documents, "
                "(SELECT count(*) FROM ingest_sources) AS sources"
            )
        ).fetchone()
    assert left == {"chunks": 1, "documents": 1, "sources": 0}
    assert job.status == "cancelled"
    assert (before.chunk_count, after.chunk_count) == (3, 1)
    assert after.corpus_version > before.corpus_version
    assert await acme.claim(queued) is None


async def test_deleting_one_leaves_no_bytes_of_a_job_that_died(acme):
    """What could not be parsed is the tenant's text all the same."""
    dead = await acme.put("dead", "secret")
    await acme.kill(dead)
    async with acme.connect() as connection:
        await delete_collection(connection, acme.tenant, "kb")
        left = await (await connection.execute("SELECT count(*) AS n FROM ingest_sources")).fetchone()
    assert left["n"] == 0


async def test_deleting_one_while_documents_are_written_ends_in_order(acme):
    """Every write takes the collection's lock before the document's, so that none waits for another in a ring."""
    for n in range(4):
        await acme.serve(f"old-{n}", f"text {n}")
    runs = [await acme.claim(await acme.put(f"old-{n}", f"new text {n}")) for n in range(4)]

    async def delete() -> None:
        async with acme.connect() as connection:
            await delete_collection(connection, acme.tenant, "kb")

    ended = await asyncio.gather(delete(), *(acme.finish(run) for run in runs), return_exceptions=True)
    assert ended[0] is None
    assert {type(error) for error in ended[1:] if error is not None} <= {Conflict}
    async with acme.connect() as connection:
        row = await (
            await connection.execute("SELECT chunk_count, (SELECT count(*) FROM chunks) AS rows FROM corpora")
        ).fetchone()
    assert row == {"chunk_count": 0, "rows": 0}


def test_unset_is_not_null():
    assert CollectionChange().refusal_threshold is msgspec.UNSET
