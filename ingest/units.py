"""A section as the smallest parts a chunk is made of: sentences, rows, and a few lines of code at a time."""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Protocol

from ingest.outline import Block
from ingest.sentences import sentence_spans

Span = tuple[int, int]

# A word piece tokenizer counts a word of more than a hundred characters as one piece.
LONGEST: Final = 2_000
_CODE_PIECES: Final = 60

# What it costs to cut before a unit, on the scale of `breakpoints`.
BETWEEN_BLOCKS: Final = 0.0
BETWEEN_ITEMS: Final = 0.05
IN_PARAGRAPH: Final = 0.2
IN_SENTENCE: Final = 0.3
AFTER_COLON: Final = 0.3
IN_UNIT: Final = 1.0
AFTER_TABLE_HEADER: Final = 4.0


class PieceCounter(Protocol):
    """Counts and locates word pieces."""

    def count_pieces(self, texts: Sequence[str]) -> list[int]:
        """Count each text's word pieces."""

    def piece_offsets(self, text: str) -> list[tuple[int, int]]:
        """Locate the word pieces of a text, in order."""


@dataclass(frozen=True, slots=True)
class Unit:
    """`text[start:end]`; a chunk that opens with it begins at `cover`, and from there it counts `pieces`.

    `cut_cost` is the price of cutting before it; `header` the header row it needs when its table was cut.
    """

    cover: int
    start: int
    end: int
    pieces: int
    cut_cost: float
    page: int | None
    header: Span | None


def units_of(blocks: Iterable[Block], text: str, *, counter: PieceCounter, room: int) -> list[Unit]:
    """Divide blocks into units of at most `room` pieces, in order; every block gives at least one."""
    units: list[Unit] = []
    before: Block | None = None
    for block in blocks:
        units.extend(_units_of_block(block, before, text, counter, room))
        before = block
    counts = counter.count_pieces([text[unit.cover : unit.end] for unit in units])
    return [replace(unit, pieces=count) for unit, count in zip(units, counts, strict=True)]


def _units_of_block(block: Block, before: Block | None, text: str, counter: PieceCounter, room: int) -> Iterator[Unit]:
    spans = _natural_spans(block, text, counter)
    counts = counter.count_pieces([text[start:end] for start, end in spans])
    is_whole = block.kind in {"code", "table"} and sum(counts) <= room
    header = _header(block, text)
    previous = block.start
    for span, count in zip(spans, counts, strict=True):
        for start, end in _split(span, count, text, counter, room):
            is_first = start == spans[0][0]
            if is_first:
                cost = _cost_between(before, block, text)
            elif start != span[0]:
                cost = IN_SENTENCE
            else:
                cost = _cost_inside(block, previous, header, is_whole=is_whole)
            cover = block.start if is_first else _cover(block, previous, start, text)
            yield Unit(cover, start, end, 0, cost, block.page, None if is_first else header)
            previous = end


def _natural_spans(block: Block, text: str, counter: PieceCounter) -> list[Span]:
    body = text[block.start : block.end]
    if block.kind == "code":
        spans = _code_spans(body, counter)
    elif block.kind == "table":
        spans = _line_spans(body)
    elif block.kind == "heading":
        spans = []
    else:
        spans = sentence_spans(body)
    return [(block.start + start, block.start + end) for start, end in spans] or _trim(text, block.start, block.end)


def _line_spans(body: str) -> list[Span]:
    spans = []
    position = 0
    for line in body.split("\n"):
        if stripped := line.strip():
            start = position + line.index(stripped[0])
            spans.append((start, start + len(stripped)))
        position += len(line) + 1
    return spans


def _code_spans(body: str, counter: PieceCounter) -> list[Span]:
    """Group lines up to a blank line or 60 pieces: a line alone is too little to mean anything."""
    lines = _line_spans(body)
    counts = counter.count_pieces([body[start:end] for start, end in lines])
    groups: list[Span] = []
    length = 0
    for (start, end), count in zip(lines, counts, strict=True):
        follows = bool(groups) and body.count("\n", groups[-1][1], start) == 1
        if follows and length + count <= _CODE_PIECES:
            groups[-1] = (groups[-1][0], end)
            length += count
        else:
            groups.append((start, end))
            length = count
    return groups


def _header(block: Block, text: str) -> Span | None:
    """The first row of a table that says it is a header."""
    if block.kind != "table" or not block.level:
        return None
    end = text.find("\n", block.start, block.end)
    return None if end < 0 else (block.start, end)


def _cost_between(before: Block | None, block: Block, text: str) -> float:
    if before is None:
        return BETWEEN_BLOCKS
    if text[before.start : before.end].endswith((":", "：")):
        return AFTER_COLON
    if block.kind == before.kind == "list":
        return BETWEEN_ITEMS if block.level <= before.level else IN_PARAGRAPH
    return BETWEEN_BLOCKS


def _cost_inside(block: Block, previous: int, header: Span | None, *, is_whole: bool) -> float:
    if header is not None and previous <= header[1]:
        return AFTER_TABLE_HEADER
    if is_whole:
        return IN_UNIT
    return BETWEEN_ITEMS if block.kind in {"code", "table"} else IN_PARAGRAPH


def _cover(block: Block, previous: int, start: int, text: str) -> int:
    """Begin where the last unit ended, without the blanks; at the line's start in code, to keep its indentation."""
    gap = text[previous:start]
    if block.kind == "code" and "\n" in gap:
        return previous + gap.rindex("\n") + 1
    return previous + len(gap) - len(gap.lstrip())


def _split(span: Span, count: int, text: str, counter: PieceCounter, room: int) -> list[Span]:
    """Cut what is too long into even parts, at a word's end where there is one; what fits stays whole."""
    start, end = span
    if count <= room and end - start <= LONGEST:
        return [span]
    if count > room:
        offsets = counter.piece_offsets(text[start:end])
        step = math.ceil(len(offsets) / math.ceil(len(offsets) / max(1, room * 4 // 5)))
        marks = [start + offsets[k][0] for k in range(step, len(offsets), step)]
    else:
        marks = [*range(start + LONGEST, end, LONGEST)]
    cuts = [start]
    for mark in marks:
        cuts.append(_nearby_word_end(text, max(cuts[-1] + 1, mark - 40, (cuts[-1] + mark) // 2), mark))
    parts = [part for left, right in pairwise([*cuts, end]) for part in _trim(text, left, right)]
    if len(parts) == 1:
        return parts
    counts = counter.count_pieces([text[left:right] for left, right in parts])
    return [
        smaller for part, size in zip(parts, counts, strict=True) for smaller in _split(part, size, text, counter, room)
    ]


def _nearby_word_end(text: str, floor: int, mark: int) -> int:
    """Step back from a mark to the last blank, or out of a character's combining marks; not beyond the floor."""
    for position in range(mark, floor, -1):
        if text[position - 1].isspace():
            return position
    while mark > floor and _continues_character(text, mark):
        mark -= 1
    return mark


def _continues_character(text: str, position: int) -> bool:
    joined = text[position] in "\u200d\ufe0e\ufe0f" or text[position - 1] == "\u200d"
    return joined or bool(unicodedata.combining(text[position]))


def _trim(text: str, start: int, end: int) -> list[Span]:
    body = text[start:end]
    stripped = body.strip()
    if not stripped:
        return []
    left = start + len(body) - len(body.lstrip())
    return [(left, left + len(stripped))]
