import pytest

from rag.errors import NotFound
from rag.store.corpus import read_corpus
from rag.store.documents import (
    delete_document,
    get_document,
    list_documents,
    list_versions,
    read_spans,
    version_text,
)


async def get(owner, external_id, *, acl=None, collection="kb"):
    async with owner.connect() as connection:
        return await get_document(connection, owner.tenant, collection, external_id, acl=acl)


async def readable(owner, principal):
    async with owner.connect() as connection:
        return (await read_corpus(connection, principal)).acl_ids


async def test_a_document_shows_what_it_was_given(acme):
    receipt = await acme.serve(
        "guide", "Brakes.\n\nWheels.", title="Guide", uri="https://a.example", metadata={"n": [1]}, groups=["b", "a"]
    )
    found = await get(acme, "guide")
    assert (found.document_id, found.version, found.chunk_count) == (receipt.document_id, 1, 2)
    assert (found.title, found.uri, found.metadata) == ("Guide", "https://a.example", {"n": [1]})
    assert (found.groups, found.collection, found.media_type) == (["a", "b"], "kb", "text/markdown")
    assert found.size_bytes == len(b"Brakes.\n\nWheels.")


async def test_before_its_first_version_serves_it_has_none(acme):
    await acme.put("queued", "Brakes.")
    found = await get(acme, "queued")
    assert (found.version, found.chunk_count, found.title) == (None, 0, None)


async def test_a_document_is_read_by_its_groups(acme, as_reader):
    await acme.serve("open", "For all.")
    await acme.serve("staff", "For staff.", groups=["staff"])
    await acme.serve("either", "For staff or board.", groups=["board", "staff"])
    await acme.serve("board", "For the board.", groups=["board"])
    may = {}
    for groups in ((), ("staff",), ("*",)):
        acl = await readable(acme, as_reader(acme.tenant, "acme", *groups))
        async with acme.connect() as connection:
            listed = await list_documents(connection, acme.tenant, "kb", acl=acl)
        may[groups] = [document.external_id for document in listed]
        for name in {"open", "staff", "either", "board"} - set(may[groups]):
            with pytest.raises(NotFound):
                await get(acme, name, acl=acl)
    assert may == {
        (): ["open"],
        ("staff",): ["either", "open", "staff"],
        ("*",): ["board", "either", "open", "staff"],
    }


async def test_a_document_with_no_groups_known_yet_is_shown_to_no_reader(acme):
    await acme.put("queued", "Brakes.")
    with pytest.raises(NotFound):
        await get(acme, "queued", acl=await readable(acme, acme.principal))


async def test_documents_are_paged_by_external_id(acme):
    for name in ("c", "a", "b", "d"):
        await acme.serve(name, f"Text {name}.")
    async with acme.connect() as connection:
        first = await list_documents(connection, acme.tenant, "kb", acl=None, limit=3)
        rest = await list_documents(connection, acme.tenant, "kb", acl=None, after=first[-1].external_id, limit=3)
    assert [d.external_id for d in first] == ["a", "b", "c"]
    assert [d.external_id for d in rest] == ["d"]


async def test_versions_are_kept_and_one_serves(acme):
    first = await acme.serve("guide", "Old text.", title="Old")
    await acme.serve("guide", "New text, and more.", title="New")
    async with acme.connect() as connection:
        versions = await list_versions(connection, acme.tenant, first.document_id)
        assert [(v.version, v.title, v.serving, v.length) for v in versions] == [
            (2, "New", True, len("New text, and more.")),
            (1, "Old", False, len("Old text.")),
        ]
        older = await list_versions(connection, acme.tenant, first.document_id, before=2)
        assert [v.version for v in older] == [1]
        assert await version_text(connection, acme.tenant, first.document_id, 1) == "Old text."
        with pytest.raises(NotFound):
            await version_text(connection, acme.tenant, first.document_id, 3)


async def test_spans_are_counted_in_characters(acme):
    text = "Ünï 🚲 wheel\n\nlast"
    receipt = await acme.serve("guide", text)
    spans = [(receipt.document_id, 1, start, end) for start, end in ((0, 3), (4, 5), (6, 11), (13, 17), (0, 999))]
    async with acme.connect() as connection:
        found = await read_spans(connection, acme.tenant, spans)
    assert found == {span: text[span[2] : span[3]] for span in spans}


async def test_absent_spans_are_left_out(acme, bolt, absent_id):
    ours = (await acme.serve("guide", "Ours.")).document_id
    theirs = (await bolt.serve("guide", "Theirs.")).document_id
    spans = [(ours, 1, 0, 4), (ours, 2, 0, 4), (theirs, 1, 0, 4), (absent_id, 1, 0, 4)]
    async with acme.connect() as connection:
        assert await read_spans(connection, acme.tenant, spans) == {(ours, 1, 0, 4): "Ours"}
        assert await read_spans(connection, acme.tenant, []) == {}


async def test_deleting_a_document_takes_all_that_was_made_from_it(acme):
    await acme.serve("kept", "Brakes.\n\nWheels.")
    await acme.serve("gone", "Lever.")
    await acme.serve("gone", "Cable.\n\nSaddle.\n\nHelmet.")
    async with acme.connect() as connection:
        before = await read_corpus(connection, acme.principal)
        await delete_document(connection, acme.tenant, "kb", "gone")
        after = await read_corpus(connection, acme.principal)
        left = {}
        for table in ("documents", "document_versions", "chunks", "chunk_lexemes", "embeddings_minilm_l6_v2"):
            row = await (await connection.execute(f"SELECT count(*) AS n FROM {table}")).fetchone()
            left[table] = row["n"]
    assert left == {
        "documents": 1,
        "document_versions": 1,
        "chunks": 2,
        "chunk_lexemes": 2,
        "embeddings_minilm_l6_v2": 2,
    }
    assert (before.chunk_count, after.chunk_count) == (5, 2)
    assert after.corpus_version == before.corpus_version + 1
    assert (after.collections[0].chunk_count, (await get(acme, "kept")).chunk_count) == (2, 2)


async def test_what_is_absent_or_anothers_is_not_found(acme, bolt):
    await bolt.serve("guide", "Theirs.")
    async with acme.connect() as connection:
        for collection in ("kb", "none"):
            with pytest.raises(NotFound):
                await get_document(connection, acme.tenant, collection, "guide", acl=None)
            with pytest.raises(NotFound):
                await delete_document(connection, acme.tenant, collection, "guide")
        assert await list_documents(connection, acme.tenant, "kb", acl=None) == []
        with pytest.raises(NotFound):
            await list_documents(connection, acme.tenant, "none", acl=None)
    assert (await get(bolt, "guide")).chunk_count == 1
