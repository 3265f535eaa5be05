"""The stage around a reranker; the cross-encoder itself is in tests/rag/embedding/test_cross_encoder.py."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from rag.domain import ChunkId, Passage, Query
from rag.errors import EncoderUnavailable
from rag.retrieval.query_vectors import QueryVectors
from rag.retrieval.rerank import CANDIDATES, NOT_CONFIGURED, NullReranker, readable, rerank
from rag.retrieval.retriever import Retriever


def chunk(number: int) -> ChunkId:
    return ChunkId(UUID(int=number))


def passage(number: int, text: str = "text", **more: object) -> Passage:
    values: dict = {
        "chunk_id": chunk(number),
        "document_id": UUID(int=0),
        "external_id": str(number),
        "document_version": 1,
        "collection": "kb",
        "title": None,
        "uri": None,
        "heading_path": [],
        "page": None,
        "text": text,
        "metadata": {},
        "span_start": 0,
        "token_count": 1,
        "context": "",
    }
    return Passage(**{**values, **more})


class ByLength:
    """Judges the longest text best: a reranker whose judgement a test can tell."""

    name: str | None = "by-length"

    def __init__(self) -> None:
        self.read: list[str] = []

    async def score(self, _query: str, texts: Sequence[str], /) -> list[float]:
        self.read += texts
        return [1 - 1 / (1 + len(text)) for text in texts]

    async def close(self) -> None:
        pass


class Broken(ByLength):
    async def score(self, _query: str, _texts: Sequence[str], /) -> list[float]:
        raise EncoderUnavailable("the reranker is busy")


RANKED = [(chunk(n), 1 - n / 100) for n in range(50)]
PASSAGES = {chunk(n): passage(n, "x" * n) for n in range(50)}


async def test_the_head_is_put_in_the_judged_order_above_all_the_rest():
    done = await rerank(ByLength(), "q", RANKED, PASSAGES)
    assert [key for key, _ in done.ranked] == [chunk(n) for n in (*reversed(range(CANDIDATES)), *range(CANDIDATES, 50))]
    scores = [score for _, score in done.ranked]
    assert scores == sorted(scores, reverse=True)
    assert (done.candidates, done.note, done.degraded) == (CANDIDATES, None, False)


async def test_equal_judgements_keep_the_order_of_before():
    same = {key: passage(0) for key in PASSAGES}
    done = await rerank(ByLength(), "q", RANKED, same)
    assert [key for key, _ in done.ranked] == [key for key, _ in RANKED]


async def test_without_one_nothing_moves():
    done = await rerank(NullReranker(), "q", RANKED, PASSAGES)
    assert (done.ranked, done.note, done.degraded) == (RANKED, NOT_CONFIGURED, False)
    with pytest.raises(EncoderUnavailable):
        await NullReranker().score("q", ["text"])


async def test_one_that_fails_leaves_the_ranking_and_says_so():
    done = await rerank(Broken(), "q", RANKED, PASSAGES)
    assert (done.ranked, done.note, done.degraded) == (RANKED, "the reranker is busy", True)


async def test_what_is_held_back_is_not_judged():
    reader = ByLength()
    done = await rerank(reader, "q", RANKED[:3], {chunk(2): PASSAGES[chunk(2)]})
    assert [key for key, _ in done.ranked] == [chunk(2)]
    assert reader.read == ["xx"]


def test_a_passage_is_judged_as_it_was_embedded():
    found = passage(1, "Row", title="Guide", heading_path=["Wheels", "Tyres"], context="Head")
    assert readable(found) == "Guide › Wheels › Tyres\nHead\nRow"
    assert readable(passage(1, title="Tyres", heading_path=["Tyres"])) == "Tyres\ntext"


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
async def test_a_search_is_reranked_when_it_asks_for_it(services, stock, texts, mode):
    owner = await stock("acme")
    await owner.serve_all(texts)
    reader = ByLength()
    retriever = Retriever(
        services.database,
        QueryVectors(services.encoder),
        reader,
        dense_weight=0.6,
        encoder_languages={"english"},
        timeout_s=20,
    )

    plain = await retriever.search(owner.principal, Query(text="rear lamp", mode=mode))
    assert reader.read == []
    result = await retriever.search(owner.principal, Query(text="rear lamp", mode=mode, rerank=True, explain=True))

    lengths = [len(hit.text) for hit in result.hits]
    assert lengths == sorted(lengths, reverse=True)
    assert {hit.chunk_id for hit in result.hits} == {hit.chunk_id for hit in plain.hits}
    assert result.explain["rerank"] == {"model": "by-length", "candidates": len(result.hits), "note": None}
    second = await retriever.search(owner.principal, Query(text="rear lamp", mode=mode, rerank=True, offset=1, limit=1))
    assert [hit.chunk_id for hit in second.hits] == [hit.chunk_id for hit in result.hits[1:2]]


async def test_a_page_beyond_the_judged_follows_on(services, stock):
    owner = await stock("acme")
    await owner.serve_all({f"d{n}": f"The lamp number {n} " + "shines " * n for n in range(CANDIDATES + 5)})
    retriever = Retriever(
        services.database,
        QueryVectors(services.encoder),
        ByLength(),
        dense_weight=0.6,
        encoder_languages={"english"},
        timeout_s=20,
    )
    pages = [
        await retriever.search(owner.principal, Query(text="lamp", rerank=True, offset=offset, limit=10))
        for offset in (0, 10, 20, 30)
    ]
    shown = [hit.external_id for page in pages for hit in page.hits]
    assert sorted(shown) == sorted(f"d{n}" for n in range(CANDIDATES + 5))
