from uuid import UUID, uuid4

import msgspec
import pytest

from rag.domain import Answer, Citation, Hit, Ranks, Refusal, Sentence, Usage
from rag.errors import NotFound
from rag.store.answers import get_answer, keep_answer
from rag.store.collections import delete_collection
from rag.store.corpus import read_corpus
from rag.store.documents import delete_document


def an_answer(**changes) -> Answer:
    document, chunk = uuid4(), uuid4()
    values = {
        "id": uuid4(),
        "status": "answered",
        "text": "Yes.",
        "sentences": [Sentence("Yes.", [1])],
        "citations": [
            Citation(
                number=1,
                chunk_id=chunk,
                document_id=document,
                document_version=2,
                title="Guide",
                uri=None,
                heading_path=["A", "B"],
                page=3,
                quote="Yes.",
                start=10,
                end=14,
            )
        ],
        "refusal": None,
        "confidence": 0.75,
        "gateway": "extractive",
        "model": None,
        "usage": Usage(1, 2, 0.5),
        "took_ms": 1.5,
        "request_id": "r",
    }
    return Answer(**{**values, **changes})


def a_refusal() -> Answer:
    hit = Hit(
        chunk_id=uuid4(),
        document_id=uuid4(),
        external_id="x",
        document_version=1,
        collection="kb",
        title=None,
        uri=None,
        heading_path=[],
        page=None,
        text="near",
        highlights=[(0, 4)],
        score=0.5,
        similarity=None,
        ranks=Ranks(1, None),
        metadata={"a": {"b": [1, None, True]}},
    )
    refusal = Refusal("thin_context", "no", [hit])
    return an_answer(status="refused", text="", sentences=[], citations=[], refusal=refusal)


async def keep(owner, answer: Answer) -> None:
    async with owner.connect() as connection:
        await keep_answer(
            connection,
            owner.tenant,
            answer,
            key=uuid4(),
            question="Does it?",
            corpus_version=3,
            space="minilm_l6_v2",
            passages=[{"chunk_id": uuid4(), "score": 0.5, "ranks": Ranks(1, 2)}],
        )


def quoting(answer: Answer, document: UUID) -> Answer:
    """The same answer about a document that there is."""
    citations = [msgspec.structs.replace(citation, document_id=document) for citation in answer.citations]
    refusal = answer.refusal and Refusal(
        answer.refusal.code,
        answer.refusal.message,
        [msgspec.structs.replace(hit, document_id=document) for hit in answer.refusal.nearest],
    )
    return msgspec.structs.replace(answer, citations=citations, refusal=refusal)


async def read(owner, answer: Answer, **principal) -> Answer:
    caller = msgspec.structs.replace(owner.principal, **principal)
    async with owner.connect() as connection:
        acl = (await read_corpus(connection, caller)).acl_ids
        return await get_answer(connection, owner.tenant, answer.id, acl=acl)


@pytest.mark.parametrize("answer", [an_answer(), a_refusal()], ids=["answered", "refused"])
async def test_an_answer_is_read_as_it_was_sent(answer, acme):
    served = await acme.serve("guide", "Yes.")
    kept = quoting(answer, served.document_id)
    await keep(acme, kept)
    assert await read(acme, kept) == kept


@pytest.mark.parametrize("answer", [an_answer(), a_refusal()], ids=["answered", "refused"])
async def test_it_is_readable_while_all_that_it_quotes_is(answer, acme):
    served = await acme.serve("guide", "Yes.")
    kept = quoting(answer, served.document_id)
    await keep(acme, kept)
    await acme.serve("guide", "Yes.", groups=["hr"])
    with pytest.raises(NotFound):
        await read(acme, kept, groups=())
    assert await read(acme, kept, groups=("hr",)) == kept


async def test_it_goes_with_a_document_that_it_quotes(acme):
    served = await acme.serve("guide", "Yes.")
    kept = quoting(an_answer(), served.document_id)
    await keep(acme, kept)
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "guide")
        cursor = await connection.execute("SELECT count(*) AS answers FROM answers")
        assert (await cursor.fetchone())["answers"] == 0


async def test_it_goes_with_a_collection_that_it_quotes(acme):
    served = await acme.serve("guide", "Yes.")
    await keep(acme, quoting(an_answer(), served.document_id))
    async with acme.connect() as connection:
        await delete_collection(connection, acme.tenant, "kb")
        cursor = await connection.execute("SELECT count(*) AS answers FROM answers")
        assert (await cursor.fetchone())["answers"] == 0


async def test_another_tenants_answer_is_not_found_in_the_same_words(acme, bolt):
    theirs = quoting(an_answer(), (await bolt.serve("guide", "Yes.")).document_id)
    await keep(bolt, theirs)
    said = set()
    for answer in (theirs, an_answer()):
        with pytest.raises(NotFound) as refusal:
            await read(acme, answer)
        said.add(refusal.value.message)
    assert len(said) == 1
