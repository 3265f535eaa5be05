"""The spans of matching words: what stands in test_retriever.py is the search's; here it is the plan's."""

from rag.retrieval.highlighting import mark
from rag.store.corpus import read_corpus
from rag.store.search import Alternative, SearchScope, dense_leg, hydrate, lexical_plan


async def marked(owner, text: str, **more) -> list[str]:
    async with owner.connect() as connection:
        corpus = await read_corpus(connection, owner.principal)
        scope = SearchScope.of(owner.tenant, corpus, None, None)
        (vector,) = owner.embed(["anything"])
        chunks = [chunk for chunk, _ in await dense_leg(connection, scope, vector, limit=10)]
        passages = await hydrate(connection, scope, chunks)
        plan = await lexical_plan(connection, owner.tenant, text, ["english"], **more)
        marks = await mark(connection, passages, plan, {"english"})
    return [passages[chunk].text[start:end] for chunk, spans in marks.items() for start, end in spans]


async def test_words_beginnings_and_alternatives_are_marked(acme):
    await acme.serve_all({"doc": "Brakes, braking, a breakwater; the lever and its handle."})
    assert await marked(acme, "brake") == ["Brakes", "braking"]
    assert await marked(acme, "lever", beginning="br") == ["Brakes", "braking", "breakwater", "lever"]
    assert await marked(acme, "", beginning="brakin") == ["Brakes", "braking"]
    assert await marked(acme, "lever", alternatives=[Alternative("lever", "handle", 0.9)]) == ["lever", "handle"]


async def test_without_a_plan_nothing_is_marked(acme):
    await acme.serve_all({"doc": "The brake."})
    assert await marked(acme, "the") == []
