from uuid import uuid4

import pytest

from rag.domain import ChunkId, Passage
from rag.gateway.base import Draft, Source
from rag.gateway.extractive import ExtractiveGateway


def passage(title: str, *headings: str) -> Passage:
    return Passage(
        chunk_id=ChunkId(uuid4()), document_id=uuid4(), external_id=title, document_version=1, collection="kb",
        title=title, uri=None, heading_path=[title, *headings], page=None, text="", metadata={}, span_start=0,
        token_count=0, context="",
    )  # fmt: skip


def source(text: str, similarity: float, *, of: int = 0, at: int = 0, relevance: float = 0.5) -> Source:
    return Source(of, at, at + len(text), text, similarity, relevance)


async def answer(question: str, passages: list[Passage], sources: list[Source]) -> Draft:
    return await ExtractiveGateway().answer(question, passages, sources)


async def test_each_claim_is_one_source_word_for_word():
    sources = [source("Unused items go back within 41 days.", 0.8), source("We are glad to help you.", 0.1, at=40)]
    draft = await answer("How long can items go back?", [passage("Returns")], sources)
    assert [(claim.text, claim.sources) for claim in draft.claims] == [("Unused items go back within 41 days.", [0])]
    assert draft.usage.cost_usd == 0


async def test_no_source_gives_no_claim():
    assert (await answer("Anything?", [], [])).claims == []


@pytest.mark.parametrize("text", ["Returns", "What is a return?", "Yes, no"])
async def test_a_scrap_or_a_question_is_no_answer(text: str):
    assert (await answer("What is a return?", [passage("Returns")], [source(text, 0.99)])).claims == []


async def test_a_near_copy_is_said_once():
    sources = [source("Refunds take six working days.", 0.8), source("Refunds take six working days now.", 0.79, of=1)]
    draft = await answer("How long do refunds take?", [passage("A"), passage("B")], sources)
    assert [claim.sources for claim in draft.claims] == [[0]]


async def test_a_sentence_that_opens_a_list_brings_the_list():
    sources = [
        source("To reset the display do this:", 0.9),
        source("Hold both buttons down.", 0.2, at=40),
        source("Wait for ten seconds.", 0.2, at=70),
        source("Another passage altogether here.", 0.2, of=1),
    ]
    draft = await answer("How do I reset the display?", [passage("Display"), passage("Other")], sources)
    assert [claim.sources for claim in draft.claims] == [[0], [1], [2]]


async def test_the_row_that_names_a_table_s_columns_is_no_answer():
    sources = [
        source("Code | Meaning | What to do", 0.9),
        source("E07 | Motor too hot | Rest for 20 minutes", 0.5, at=40),
        source("E09 | Controller fault | Workshop", 0.5, at=90),
    ]
    draft = await answer("What does code E07 mean?", [passage("Error codes")], sources)
    assert draft.claims[0].sources == [1]
    assert all(0 not in claim.sources for claim in draft.claims)


async def test_a_rare_word_of_the_question_outweighs_common_ones():
    sources = [source("The bike shows a code on the bike.", 0.6), source("The bike stops at code E07.", 0.55, at=40)]
    draft = await answer("Why does the bike show code E07?", [passage("Codes")], sources)
    assert 1 in {index for claim in draft.claims for index in claim.sources}


async def test_a_question_for_a_number_prefers_a_sentence_with_one():
    others = [
        "The plan costs little each month.",
        "A plan may be left each month.",
        "Cancelling any plan takes one month.",
    ]
    sources = [source(text, 0.6, of=number) for number, text in enumerate(others)]
    sources.append(source("The plan is 17.90 EUR each month.", 0.55, of=3))
    passages = [passage("Plan") for _ in sources]
    priced = await answer("How much is the plan per month?", passages, sources)
    described = await answer("Tell me of the plan per month.", passages, sources)
    assert [3] in [claim.sources for claim in priced.claims]
    assert [3] not in [claim.sources for claim in described.claims]
