"""Citations: only what a draft took from the passages that were given to it, word for word, gets through."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from rag.domain import ChunkId, Citation, Passage, Sentence
from rag.gateway.base import Claim, Source

Span = tuple[UUID, int, int, int]  # document, version, start, end


class Cited(msgspec.Struct, frozen=True):
    """The sentences that stood up to verification, with their citations."""

    sentences: list[Sentence]
    citations: list[Citation]


def span_of(source: Source, passages: Sequence[Passage]) -> Span:
    """Where a source stands in the stored text."""
    passage = passages[source.passage]
    return passage.document_id, passage.document_version, source.start, source.end


def verify(
    claims: Sequence[Claim],
    sources: Sequence[Source],
    passages: Sequence[Passage],
    stored: Mapping[Span, str],
    *,
    max_citations: int,
) -> Cited:
    """Keep the claims whose every source is one that was given and is quoted as it is stored.

    `stored` is the text of each span as it was read, for this, from the version it cites. Citations are numbered
    from 1 in the order of their first use; a claim that would go past `max_citations` is left out.
    """
    numbers: dict[int, int] = {}
    citations: list[Citation] = []
    sentences: list[Sentence] = []
    for claim in claims:
        cited = list(dict.fromkeys(claim.sources))
        new = [index for index in cited if index not in numbers]
        if not cited or len(citations) + len(new) > max_citations:
            continue
        if not all(_holds(index, sources, passages, stored) for index in cited):
            continue
        for index in new:
            numbers[index] = len(citations) + 1
            citations.append(_citation(numbers[index], sources[index], passages[sources[index].passage]))
        sentences.append(Sentence(claim.text, [numbers[index] for index in cited]))
    return Cited(sentences, citations)


def _holds(index: int, sources: Sequence[Source], passages: Sequence[Passage], stored: Mapping[Span, str]) -> bool:
    if not 0 <= index < len(sources):
        return False
    source = sources[index]
    return stored.get(span_of(source, passages)) == source.text


def _citation(number: int, source: Source, passage: Passage) -> Citation:
    return Citation(
        number=number,
        chunk_id=ChunkId(passage.chunk_id),
        document_id=passage.document_id,
        document_version=passage.document_version,
        title=passage.title,
        uri=passage.uri,
        heading_path=passage.heading_path,
        page=passage.page,
        quote=source.text,
        start=source.start,
        end=source.end,
    )
