from uuid import uuid4

import pytest

from rag.domain import Answer, Citation, Hit, Ranks, Refusal, Sentence, Usage
from rag.errors import NotFound
from rag.store.answers import get_answer, keep_answer


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


async def keep(owner, answer: Answer, *, acl: list[int]) -> None:
    async with owner.connect() as connection:
        await keep_answer(
            connection,
            owner.tenant,
            answer,
            key=uuid4(),
            question="Does it?",
            corpus_version=3,
            space="minilm_l6_v2",
            acl=acl,
            passages=[{"chunk_id": uuid4(), "score": 0.5, "ranks": Ranks(1, 2)}],
        )


@pytest.mark.parametrize("answer", [an_answer(), a_refusal()], ids=["answered", "refused"])
async def test_an_answer_is_read_as_it_was_sent(answer, acme):
    await keep(acme, answer, acl=[1])
    async with acme.connect() as connection:
        assert await get_answer(connection, acme.tenant, answer.id, acl=[1]) == answer


@pytest.mark.parametrize(
    ("asker", "reader", "may"),
    [([1, 2], [1, 2], True), ([1, 2], [3, 2, 1], True), ([1, 2], [1], False), ([1], [], False), ([], [], True)],
)
async def test_it_is_for_whoever_may_read_all_that_its_asker_could(asker, reader, may, acme):
    answer = an_answer()
    await keep(acme, answer, acl=asker)
    async with acme.connect() as connection:
        if may:
            assert await get_answer(connection, acme.tenant, answer.id, acl=reader) == answer
        else:
            with pytest.raises(NotFound):
                await get_answer(connection, acme.tenant, answer.id, acl=reader)


async def test_another_tenants_answer_is_not_found_in_the_same_words(acme, bolt):
    theirs = an_answer()
    await keep(bolt, theirs, acl=[])
    said = set()
    async with acme.connect() as connection:
        for answer_id in (theirs.id, uuid4()):
            with pytest.raises(NotFound) as refusal:
                await get_answer(connection, acme.tenant, answer_id, acl=[])
            said.add(refusal.value.message)
    assert len(said) == 1
