"""A document taken apart becomes chunks: slices of its text, cut where the subject changes.

A section that fits is a chunk, small neighbours share one, a longer section is cut between sentences. Why slices,
and what each rule is worth: docs/decisions/0004-chunks-are-slices.md.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from ingest.breakpoints import FEW_PIECES, best_cuts, similarity_cost, standardised, window_similarities
from ingest.outline import Outline, Section, lay_out
from ingest.partition import Partition
from ingest.units import PieceCounter, Span, Unit, units_of
from rag.embedding.base import Matrix
from rag.tokens import count_tokens

CHUNKER_VERSION: Final = "1"

# Word pieces of a chunk with its heading path and table header. The margin below what the encoder reads is for
# words that a cut makes longer: the halves of a word can count for more than the whole.
_ROOM: Final = 240
_MARGIN: Final = 14
_PREFIX_ROOM: Final = 64
_CONTEXT_ROOM: Final = 48
_PATH_SEPARATOR: Final = " › "


class SentenceEncoder(PieceCounter, Protocol):
    """What the chunker asks of an encoder; `rag.embedding.base.Embedder` promises it too."""

    @property
    def max_pieces(self) -> int:
        """Count the word pieces a text may have."""

    def embed_sync(self, texts: Sequence[str]) -> Matrix:
        """Embed texts of at most `max_pieces`: (n, dim), L2-normalised."""


class Sentence(msgspec.Struct, frozen=True):
    """A sentence, a row of a table or some lines of code: `[start, end)` in the document's text."""

    start: int
    end: int


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of a document: `text` is the document's `text[start:end]`.

    `context` is the header row of a table that began before the slice, otherwise empty; `prefix` the heading path
    as it is embedded, shortened from the left where it is long. `pieces` counts `embedded_text` in word pieces,
    `tokens` counts `text` in cl100k tokens. There is at least one sentence, and they are in order.
    """

    ordinal: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    prefix: str
    context: str
    page: int | None
    pieces: int
    tokens: int
    sentences: tuple[Sentence, ...]

    @property
    def embedded_text(self) -> str:
        """What the encoder reads: heading path, table header and text, each from a new line."""
        return "\n".join(part for part in (self.prefix, self.context, self.text) if part)

    @property
    def content_sha256(self) -> bytes:
        """Digest `embedded_text`: equal digests share one embedding."""
        return hashlib.sha256(self.embedded_text.encode()).digest()


@dataclass(frozen=True, slots=True, eq=False)
class ChunkedDocument:
    """A document's text, its chunks in order, and a vector for each sentence of each chunk, in the same order."""

    text: str
    chunks: list[Chunk]
    sentence_vectors: Matrix


def chunk(partition: Partition, *, title: str | None, encoder: SentenceEncoder) -> ChunkedDocument:
    """Cut a document into chunks of at most 240 word pieces, heading path and table header included.

    Every character of the elements that is not blank lies in exactly one chunk, save those of headings: each
    heading stands in a chunk or in a chunk's path. `title` goes before the document's own. Equal input gives equal
    output, as far as the encoder does. No elements, no chunks.
    """
    outline = lay_out(partition, title=title or partition.title)
    room = min(_ROOM, encoder.max_pieces - _MARGIN)
    document = _Chunker(outline, encoder, room).run()
    while room > 2 * _MARGIN and any(chunk.pieces > encoder.max_pieces for chunk in document.chunks):
        room -= 2 * _MARGIN  # a tokenizer that counts a text well above its sentences: leave it more room
        document = _Chunker(outline, encoder, room).run()
    return document


@dataclass(frozen=True, slots=True)
class _Group:
    """A section, or small neighbours that share a chunk."""

    first: Section
    path: tuple[str, ...]
    start: int
    end: int
    units: list[Unit]
    pieces: int


@dataclass(frozen=True, slots=True)
class _Slice:
    """A chunk before it is measured."""

    start: int
    end: int
    path: tuple[str, ...]
    context: str
    units: list[Unit]


class _Chunker:
    """One pass over a document, with so much room in a chunk."""

    def __init__(self, outline: Outline, encoder: SentenceEncoder, room: int) -> None:
        self._text = outline.text
        self._sections = outline.sections
        self._encoder = encoder
        self._room = room
        self._prefixes: dict[tuple[str, ...], tuple[str, int]] = {}

    def run(self) -> ChunkedDocument:
        groups = self._join_small([self._group(section) for section in self._sections])
        units = [unit for group in groups for unit in group.units]
        vectors = self._encoder.embed_sync([self._text[unit.start : unit.end] for unit in units])
        slices = list(self._cut(groups, vectors))
        return ChunkedDocument(self._text, self._measure(slices), vectors)

    def _group(self, section: Section) -> _Group:
        units = units_of(section.blocks, self._text, counter=self._encoder, room=self._body_room(section.path))
        start, end = section.blocks[0].start, section.blocks[-1].end
        return _Group(section, section.path, start, end, units, sum(unit.pieces for unit in units))

    # --- small sections ---

    def _join_small(self, groups: list[_Group]) -> list[_Group]:
        """Let a section of under 60 pieces share the chunk of the next one, or else of the one before."""
        forward: list[_Group] = []
        for group in groups:
            joined = self._join(forward[-1], group) if forward and forward[-1].pieces < FEW_PIECES else None
            forward[-1:] = [joined] if joined else [*forward[-1:], group]
        joined_groups: list[_Group] = []
        for group in forward:
            joined = self._join(joined_groups[-1], group) if joined_groups and group.pieces < FEW_PIECES else None
            joined_groups[-1:] = [joined] if joined else [*joined_groups[-1:], group]
        return joined_groups

    def _join(self, left: _Group, right: _Group) -> _Group | None:
        """Join siblings, or a parent and its child, when they fit; the headings between them become text."""
        path = _common(left.path, right.path)
        if max(len(left.path), len(right.path)) > len(path) + 1:
            return None
        start = left.start if len(left.path) == len(path) else left.first.start_under(len(path))
        if start is None or right.first.start_under(len(path)) is None:
            return None
        pieces = self._count(self._text[start : right.end])
        if pieces > self._body_room(path):
            return None
        return _Group(left.first, path, start, right.end, [*left.units, *right.units], pieces)

    # --- long sections ---

    def _cut(self, groups: list[_Group], vectors: Matrix) -> Iterator[_Slice]:
        """Make each group a slice, or several where it is too long for one."""
        is_long = [group.pieces > self._body_room(group.path) for group in groups]
        likenesses = []
        position = 0
        for group, long in zip(groups, is_long, strict=True):
            own = vectors[position : position + len(group.units)]
            likenesses.append(window_similarities(own) if long else [])
            position += len(group.units)
        for group, long, likeness in zip(groups, is_long, standardised(likenesses), strict=True):
            if long:
                yield from self._cut_group(group, likeness)
            else:
                yield _Slice(group.start, group.end, group.path, "", group.units)

    def _cut_group(self, group: _Group, likeness: list[float]) -> Iterator[_Slice]:
        units = group.units
        costs = [unit.cut_cost + similarity_cost(z) for unit, z in zip(units[1:], likeness, strict=True)]
        room = self._body_room(group.path)
        headers = [self._context(unit.header, room - unit.pieces) for unit in units]
        starts = best_cuts([unit.pieces for unit in units], costs, room=lambda n: room - headers[n][1])
        for first, last in zip(starts, [*starts[1:], len(units)], strict=True):
            own = units[first:last]
            yield _Slice(own[0].cover, own[-1].end, group.path, headers[first][0], own)

    def _context(self, header: Span | None, room: int) -> tuple[str, int]:
        """The header row to repeat before a row, unless it leaves no room for that."""
        if header is None:
            return "", 0
        row = self._text[header[0] : header[1]]
        pieces = self._count(row)
        return (row, pieces) if pieces <= min(_CONTEXT_ROOM, room) else ("", 0)

    # --- chunks ---

    def _measure(self, slices: list[_Slice]) -> list[Chunk]:
        drafts = [self._chunk(ordinal, cut) for ordinal, cut in enumerate(slices)]
        counts = self._encoder.count_pieces([draft.embedded_text for draft in drafts])
        return [msgspec.structs.replace(draft, pieces=count) for draft, count in zip(drafts, counts, strict=True)]

    def _chunk(self, ordinal: int, cut: _Slice) -> Chunk:
        text = self._text[cut.start : cut.end]
        return Chunk(
            ordinal=ordinal,
            start=cut.start,
            end=cut.end,
            text=text,
            heading_path=cut.path,
            prefix=self._prefix(cut.path)[0],
            context=cut.context,
            page=cut.units[0].page,
            pieces=0,
            tokens=count_tokens(text),
            sentences=tuple(Sentence(unit.start, unit.end) for unit in cut.units),
        )

    def _body_room(self, path: tuple[str, ...]) -> int:
        return self._room - self._prefix(path)[1]

    def _prefix(self, path: tuple[str, ...]) -> tuple[str, int]:
        """Write the heading path for the encoder, and count it; a long one loses its outer headings first."""
        if path not in self._prefixes:
            room = min(_PREFIX_ROOM, self._room // 2)
            words, outermost = _PATH_SEPARATOR.join(path), 0
            while (pieces := self._count(words)) > room and outermost < len(path) - 1:
                outermost += 1
                words = _PATH_SEPARATOR.join(path[outermost:])
            if pieces > room:
                words = words[: self._encoder.piece_offsets(words)[room - 1][1]]
                pieces = self._count(words)
            self._prefixes[path] = (words, pieces)
        return self._prefixes[path]

    def _count(self, text: str) -> int:
        return self._encoder.count_pieces([text])[0]


def _common(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    return left[:length]
