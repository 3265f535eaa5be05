"""Only what was given, word for word, is cited."""

from uuid import uuid4

import msgspec
import pytest

from rag.domain import ChunkId, Passage
from rag.gateway.base import Claim, Source
from rag.generation.citations import Span, span_of, verify

TEXT = "Unused items go back within 41 days. Refunds take six days."
PASSAGE = Passage(
    chunk_id=ChunkId(uuid4()), document_id=uuid4(), external_id="returns", document_version=3, collection="kb",
    title="Returns", uri="https://example.test/returns", heading_path=["Returns"], page=2, text=TEXT, metadata={},
    span_start=100, token_count=14, context="",
)  # fmt: skip
SOURCES = [Source(0, 100, 136, TEXT[:36], 0.9, 0.8), Source(0, 137, 159, TEXT[37:], 0.7, 0.8)]
STORED: dict[Span, str] = {span_of(source, [PASSAGE]): source.text for source in SOURCES}


def cited(claims: list[Claim], *, stored: dict[Span, str] = STORED, most: int = 5) -> list[tuple[str, list[int]]]:
    found = verify(claims, SOURCES, [PASSAGE], stored, max_citations=most)
    return [(sentence.text, sentence.citations) for sentence in found.sentences]


def test_a_true_claim_is_kept_with_all_that_a_reader_needs():
    found = verify([Claim("Within 41 days.", [0])], SOURCES, [PASSAGE], STORED, max_citations=5)
    (citation,) = found.citations
    assert (citation.number, citation.quote, citation.start, citation.end) == (1, TEXT[:36], 100, 136)
    assert (citation.document_version, citation.page, citation.uri) == (3, 2, "https://example.test/returns")
    assert [s.citations for s in found.sentences] == [[1]]


@pytest.mark.parametrize("sources", [[], [7], [-1], [0, 7]])
def test_a_claim_with_a_missing_or_foreign_source_is_dropped(sources: list[int]):
    assert cited([Claim("Invented.", sources)]) == []


def test_a_quote_that_the_stored_version_does_not_hold_is_dropped():
    tampered = {span: text.replace("41", "14") for span, text in STORED.items()}
    assert cited([Claim("Within 41 days.", [0])], stored=tampered) == []


def test_a_shifted_span_is_dropped():
    shifted = {
        (document, version, start + 1, end + 1): text for (document, version, start, end), text in STORED.items()
    }
    assert cited([Claim("Within 41 days.", [0])], stored=shifted) == []


def test_another_version_does_not_vouch_for_this_one():
    other = {(document, version + 1, start, end): text for (document, version, start, end), text in STORED.items()}
    assert cited([Claim("Within 41 days.", [0])], stored=other) == []


def test_citations_are_numbered_by_first_use_and_shared():
    claims = [Claim("B.", [1]), Claim("A and B.", [0, 1]), Claim("B again.", [1, 1])]
    assert cited(claims) == [("B.", [1]), ("A and B.", [2, 1]), ("B again.", [1])]


def test_a_claim_past_the_most_citations_is_left_out_whole():
    assert cited([Claim("A.", [0]), Claim("B.", [1]), Claim("A again.", [0])], most=1) == [
        ("A.", [1]),
        ("A again.", [1]),
    ]


def test_the_span_names_document_and_version():
    moved = msgspec.structs.replace(PASSAGE, document_version=4)
    assert span_of(SOURCES[0], [moved]) == (PASSAGE.document_id, 4, 100, 136)
