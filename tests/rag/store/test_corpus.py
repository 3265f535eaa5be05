"""The corpus as a principal sees it. What `refresh_statistics` does to scores stands in test_bm25.py."""

import pytest

from rag.domain import TenantId
from rag.errors import NotFound
from rag.store.collections import create_collection
from rag.store.corpus import read_corpus, read_writing, refresh_statistics, touch_corpus


async def test_a_corpus_names_its_space_and_its_collections(acme):
    await acme.serve("one", "brake\n\nlever")
    async with acme.connect() as connection:
        await create_collection(connection, acme.tenant, "laden", language="german", refusal_threshold=0.5)
        corpus = await read_corpus(connection, acme.principal)
    assert (corpus.space, corpus.model, corpus.dimensions) == ("minilm_l6_v2", "all-MiniLM-L6-v2", 384)
    assert corpus.chunk_count == 2
    by_name = {c.name: (c.language, c.chunk_count, c.refusal_threshold) for c in corpus.collections}
    assert by_name == {"kb": ("english", 2, None), "laden": ("german", 0, 0.5)}


async def test_groups_open_the_sets_that_hold_any_of_them(acme, bolt, as_reader):
    sets = {(): "a", ("staff",): "b", ("board", "staff"): "c", ("board",): "d"}
    for groups, name in sets.items():
        await acme.serve(name, f"text {name}", groups=list(groups))
    await bolt.serve("theirs", "text", groups=["staff"])

    async def opened(*groups: str) -> set[tuple[str, ...]]:
        async with acme.connect() as connection:
            acl = (await read_corpus(connection, as_reader(acme.tenant, "acme", *groups))).acl_ids
            rows = await connection.execute("SELECT groups FROM acl_sets WHERE acl_id = ANY (%s)", [acl])
            found = {tuple(row["groups"]) for row in await rows.fetchall()}
        assert len(acl) == len(found), "an id of another tenant"
        return found

    assert await opened() == {()}
    assert await opened("staff") == {(), ("staff",), ("board", "staff")}
    assert await opened("nobody") == {()}
    assert await opened("staff", "board") == set(sets)
    assert await opened("*") == set(sets)
    assert await opened("STAFF", "sta", "staff ") == {()}


async def test_equal_groups_share_a_set(acme):
    await acme.serve("one", "text one", groups=["a", "b"])
    await acme.serve("two", "text two", groups=["b", "a", "b"])
    async with acme.connect() as connection:
        rows = await (await connection.execute("SELECT groups FROM acl_sets")).fetchall()
    assert [row["groups"] for row in rows] == [["a", "b"]]


async def test_a_touch_outdates_what_was_computed_before(acme):
    async with acme.connect() as connection:
        before = (await read_corpus(connection, acme.principal)).corpus_version
        assert await touch_corpus(connection, acme.tenant, chunks=3) == before + 1
        after = await read_corpus(connection, acme.principal)
    assert (after.corpus_version, after.chunk_count) == (before + 1, 3)


async def test_new_chunks_are_normalised_by_the_average_once_there_is_one(acme):
    async with acme.connect() as connection:
        assert (await read_writing(connection, acme.tenant)).average_length is None
    await acme.serve("one", "brake lever\n\nwheel cable saddle spoke")
    async with acme.connect() as connection:
        await refresh_statistics(connection, acme.tenant)
        writing = await read_writing(connection, acme.tenant)
    assert writing.average_length == pytest.approx(3)
    assert (writing.space, writing.chunker_version) == ("minilm_l6_v2", "1")


async def test_a_tenant_that_was_deleted_meanwhile_is_not_found(database, absent_id, as_reader):
    gone = TenantId(absent_id)
    async with database.tenant(gone) as connection:
        with pytest.raises(NotFound):
            await read_corpus(connection, as_reader(gone, "gone"))
        with pytest.raises(NotFound):
            await read_writing(connection, gone)
        with pytest.raises(NotFound):
            await touch_corpus(connection, gone, chunks=0)
        assert not await refresh_statistics(connection, gone)
