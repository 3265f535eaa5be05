"""From a question to an answer that can be checked, or to a refusal that says where to look."""

import msgspec
import psycopg
import pytest

from rag.domain import Answer, Usage
from rag.errors import NotFound
from rag.gateway.base import Claim, Draft
from rag.generation.answerer import Answerer
from rag.retrieval.filters import compile_filter
from rag.retrieval.query_vectors import QueryVectors
from rag.store.collections import CollectionChange, create_collection, update_collection
from rag.store.documents import delete_document, version_text
from rag.telemetry import REGISTRY

TEXTS = {
    "battery": "Charge the battery to eighty per cent before winter.\n\nStore it indoors, away from frost.",
    "returns": "You may send goods back within thirty days. The refund reaches your account after a week.",
    "theft": "If your bicycle is stolen, tell the police first. Then report the frame number to the insurer.",
    "tyres": "🚲 Check the pressure of both tyres monthly. Four bar suits most riders.",
}
KNOWN = "How far should I charge the battery before winter?"
UNKNOWN = "Who won the chess championship of 1972?"


class Writes:
    """A gateway that writes what it is told to."""

    name = "told"

    def __init__(self, *claims: Claim, usage: Usage | None = None) -> None:
        self.draft = Draft(list(claims), model="m-1", usage=usage or Usage())
        self.asked: list[str] = []

    async def answer(self, question, passages, sources) -> Draft:
        self.asked.append(question)
        self.sources, self.passages = sources, passages
        return self.draft


@pytest.fixture
async def shelf(stock):
    owner = await stock("acme")
    await owner.serve_all(TEXTS)
    return owner


@pytest.fixture
def ask(services, shelf):
    async def run(question: str, *groups: str, answerer: Answerer | None = None, **more) -> Answer:
        principal = msgspec.structs.replace(shelf.principal, groups=groups)
        return await (answerer or services.answerer).answer(principal, question=question, **more)

    return run


@pytest.fixture
def told(services):
    """An answerer whose gateway writes these claims, whatever it is asked."""

    def make(*claims: Claim, usage: Usage | None = None, threshold: float = 0.0) -> Answerer:
        return Answerer(
            services.searcher,
            services.database,
            QueryVectors(services.encoder),
            Writes(*claims, usage=usage),
            refusal_threshold=threshold,
        )

    return make


async def quoted(owner, citation) -> str:
    async with owner.connect() as connection:
        text = await version_text(connection, owner.tenant, citation.document_id, citation.document_version)
    return text[citation.start : citation.end]


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("cloister_answers_total", {"outcome": outcome}) or 0.0


# ---------------------------------------------------------------- answered


async def test_every_sentence_is_cited_and_every_citation_resolves(ask, shelf):
    answer = await ask(KNOWN, request_id="r-1")
    assert answer.status == "answered"
    assert "eighty per cent" in answer.text
    assert answer.text == " ".join(sentence.text for sentence in answer.sentences)
    numbers = [citation.number for citation in answer.citations]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {number for sentence in answer.sentences for number in sentence.citations} == set(numbers)
    assert all(sentence.citations for sentence in answer.sentences)
    for citation in answer.citations:
        assert citation.quote == await quoted(shelf, citation)
    assert (answer.gateway, answer.model, answer.refusal, answer.request_id) == ("extractive", None, None, "r-1")
    assert 0.5 < answer.confidence <= 1


async def test_a_citation_names_its_document(ask, shelf):
    await shelf.serve("chain", "Oil the chain every month.", title="Care guide", uri="https://a.example")
    (citation, *_) = (await ask("How often should the chain be oiled?")).citations
    assert (citation.title, citation.uri, citation.document_version) == ("Care guide", "https://a.example", 1)
    assert citation.quote == "Oil the chain every month."


async def test_citations_resolve_after_the_document_has_changed(ask, shelf):
    answer = await ask(KNOWN)
    await shelf.serve("battery", "Nothing is said about batteries any more.")
    for citation in answer.citations:
        assert citation.document_version == 1
        assert citation.quote == await quoted(shelf, citation)


async def test_spans_are_counted_in_characters(ask, shelf):
    answer = await ask("How often should I check the pressure of the tyres?")
    assert answer.status == "answered"
    for citation in answer.citations:
        assert citation.quote == await quoted(shelf, citation)


async def test_no_more_is_cited_than_is_asked_for(ask):
    for most in (1, 2):
        answer = await ask("Tell me about the battery, winter, frost and charging.", max_citations=most)
        assert 1 <= len(answer.citations) <= most


async def test_collections_and_filters_narrow_what_is_answered_from(ask, shelf):
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "shop")
    assert (await ask(KNOWN, collections=("kb",))).status == "answered"
    assert (await ask(KNOWN, collections=("shop",))).refusal.code == "no_results"
    assert (await ask(KNOWN, filter=compile_filter({"brand": "acme"}))).refusal.code == "no_results"
    with pytest.raises(NotFound):
        await ask(KNOWN, collections=("gone",))


# ---------------------------------------------------------------- refused


async def test_an_empty_corpus_has_no_results(services, stock):
    owner = await stock()
    answer = await services.answerer.answer(owner.principal, question=KNOWN)
    assert (answer.status, answer.refusal.code, answer.refusal.nearest) == ("refused", "no_results", [])
    assert (answer.text, answer.sentences, answer.citations, answer.confidence) == ("", [], [], 0)
    assert answer.refusal.message


async def test_what_the_corpus_does_not_know_is_refused_with_the_nearest(ask):
    answer = await ask(UNKNOWN)
    assert (answer.status, answer.refusal.code) == ("refused", "thin_context")
    assert (answer.text, answer.sentences, answer.citations) == ("", [], [])
    assert len(answer.refusal.nearest) == 3
    assert [hit.score for hit in answer.refusal.nearest] == sorted(
        (hit.score for hit in answer.refusal.nearest), reverse=True
    )
    assert answer.confidence < 0.5


async def test_nothing_is_spent_before_a_refusal(ask, told):
    answerer = told(Claim("Invented.", [0]), usage=Usage(1, 2, 3.0), threshold=1.0)
    answer = await ask(KNOWN, answerer=answerer)
    assert (answer.refusal.code, answer.usage) == ("thin_context", Usage())
    assert answerer._gateway.asked == []


async def test_a_collection_may_set_its_own_threshold(ask, shelf):
    async with shelf.connect() as connection:
        await update_collection(connection, shelf.tenant, "kb", CollectionChange(refusal_threshold=1.0))
    assert (await ask(KNOWN)).refusal.code == "thin_context"
    async with shelf.connect() as connection:
        await update_collection(connection, shelf.tenant, "kb", CollectionChange(refusal_threshold=0.0))
    assert (await ask(UNKNOWN)).status == "answered"


async def test_outcomes_are_counted(ask):
    before = counted("answered"), counted("thin_context")
    await ask(KNOWN)
    await ask(UNKNOWN)
    assert (counted("answered"), counted("thin_context")) == (before[0] + 1, before[1] + 1)


# ---------------------------------------------------------------- what a gateway writes is not trusted


async def test_what_is_not_cited_is_left_out(ask, told):
    answer = await ask(KNOWN, answerer=told(Claim("Invented.", []), Claim("True.", [0]), Claim("Foreign.", [999])))
    assert (answer.text, len(answer.citations)) == ("True.", 1)


@pytest.mark.parametrize(
    "claims", [[], [Claim("Invented.", [])], [Claim("Foreign.", [-1]), Claim("Foreign.", [10**9])]]
)
async def test_when_nothing_is_left_it_is_withheld(ask, told, claims):
    answer = await ask(KNOWN, answerer=told(*claims, usage=Usage(5, 5, 0.1)))
    assert (answer.status, answer.refusal.code, answer.text) == ("refused", "uncited", "")
    assert answer.refusal.nearest


async def test_what_was_paid_is_on_the_answer(ask, told):
    answer = await ask(KNOWN, answerer=told(Claim("True.", [0]), usage=Usage(5, 6, 0.25)))
    assert (answer.gateway, answer.model, answer.usage) == ("told", "m-1", Usage(5, 6, 0.25))


async def test_what_was_paid_for_an_answer_that_is_withheld_was_paid_all_the_same(ask, told):
    answer = await ask(KNOWN, answerer=told(Claim("Invented.", []), usage=Usage(5, 6, 0.25)))
    assert (answer.refusal.code, answer.usage) == ("uncited", Usage(5, 6, 0.25))


async def test_a_gateway_is_given_slices_of_what_is_stored(ask, told, shelf):
    answerer = told(Claim("True.", [0]))
    await ask(KNOWN, answerer=answerer)
    gateway = answerer._gateway
    assert gateway.sources
    for source in gateway.sources:
        passage = gateway.passages[source.passage]
        assert source.text == TEXTS[passage.external_id][source.start : source.end]
    order = [(source.passage, source.start) for source in gateway.sources]
    assert order == sorted(order)


# ---------------------------------------------------------------- kept


@pytest.mark.parametrize("question", [KNOWN, UNKNOWN])
async def test_an_answer_can_be_read_again_as_it_was(ask, services, shelf, question):
    answer = await ask(question)
    assert await services.answerer.get(shelf.principal, answer.id) == answer


async def test_another_tenant_and_nobody_are_told_the_same(ask, services, stock, absent_id):
    answer = await ask(KNOWN)
    other = await stock("bolt")
    said = set()
    for wanted in (answer.id, absent_id):
        with pytest.raises(NotFound) as refusal:
            await services.answerer.get(other.principal, wanted)
        said.add(refusal.value.message)
    assert len(said) == 1


async def test_one_with_fewer_groups_cannot_read_what_it_was_made_from(ask, services, shelf):
    await shelf.serve("salary", "The salary of the director is ninety thousand crowns.", groups=["board"])
    answer = await ask("What is the salary of the director?", "board")
    assert "ninety thousand" in answer.text
    for groups, may in (((), False), (("staff",), False), (("board",), True), (("*",), True)):
        principal = msgspec.structs.replace(shelf.principal, groups=groups)
        if may:
            assert await services.answerer.get(principal, answer.id) == answer
        else:
            with pytest.raises(NotFound):
                await services.answerer.get(principal, answer.id)
    refused = await ask("What is the salary of the director?")
    assert "ninety thousand" not in msgspec.json.encode(refused).decode()


async def test_a_refusal_shows_the_nearest_only_to_those_who_may_read_them(ask, services, shelf):
    await shelf.serve("chess", "The chess club of the board meets in 1972 Street.", groups=["board"])
    answer = await ask("Who won the chess championship of 1972 in Reykjavik?", "board")
    assert (
        "chess" in {hit.external_id for hit in (answer.refusal.nearest if answer.refusal else [])} or answer.citations
    )
    with pytest.raises(NotFound):
        await services.answerer.get(shelf.principal, answer.id)


async def test_what_it_was_made_from_is_kept_beside_it(ask, settings, servers, shelf):
    answer = await ask(KNOWN)
    name = settings.secret("database_url").split("/")[-1].split("?")[0]
    with psycopg.connect(servers.admin_url.replace("/postgres?", f"/{name}?")) as admin:
        row = admin.execute(
            "SELECT question, status, gateway, space, corpus_version, key_id, jsonb_array_length(passages) "
            "FROM cloister.answers WHERE answer_id = %s",
            [answer.id],
        ).fetchone()
    assert row[:4] == (KNOWN, "answered", "extractive", "minilm_l6_v2")
    assert row[4] == 1 + len(TEXTS)
    assert (row[5], row[6] > 0) == (shelf.principal.key_id, True)


async def test_a_document_deleted_while_it_is_answered_from_is_not_quoted(services, shelf):
    """Between the search and the answer the corpus may change: what is quoted is read anew."""

    class Deletes(Writes):
        async def answer(self, question, passages, sources) -> Draft:
            async with shelf.connect() as connection:
                for name in TEXTS:
                    await delete_document(connection, shelf.tenant, "kb", name)
            return Draft([Claim(source.text, [index]) for index, source in enumerate(sources)])

    answerer = Answerer(
        services.searcher, services.database, QueryVectors(services.encoder), Deletes(), refusal_threshold=0.0
    )
    answer = await answerer.answer(shelf.principal, question=KNOWN)
    assert (answer.status, answer.refusal.code, answer.citations) == ("refused", "uncited", [])


async def test_the_text_of_a_document_deleted_meanwhile_is_not_kept(services, shelf):
    """Its answers were forgotten with it, and this one came later."""

    class Deletes(Writes):
        async def answer(self, question, passages, sources) -> Draft:
            async with shelf.connect() as connection:
                await delete_document(connection, shelf.tenant, "kb", "battery")
            return Draft([])

    answerer = Answerer(
        services.searcher, services.database, QueryVectors(services.encoder), Deletes(), refusal_threshold=0.0
    )
    answer = await answerer.answer(shelf.principal, question=KNOWN)
    assert answer.refusal.code == "uncited"
    async with shelf.connect() as connection:
        kept = await (await connection.execute("SELECT body::text AS body FROM answers")).fetchall()
    assert not any("eighty per cent" in row["body"] for row in kept)
