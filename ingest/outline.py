"""The canonical text of a document, and its sections as slices of that text."""

from dataclasses import dataclass, field

from ingest.partition import Element, Kind, Partition

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Block:
    """An element at its place: `text[start:end]` of the document is the element's text."""

    kind: Kind
    start: int
    end: int
    level: int
    page: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """The blocks under one heading path, up to the next heading.

    `headings` are the heading lines directly above the first block, outermost first, each with its place in
    `path`. A heading with nothing under it is a section of its own: its one block is the heading.
    """

    path: tuple[str, ...]
    headings: tuple[tuple[int, Block], ...]
    blocks: tuple[Block, ...]

    def start_under(self, depth: int) -> int | None:
        """Tell where to begin so that every heading of the path beyond `depth` stands in the text.

        None when one of them does not stand directly above this section.
        """
        if depth >= len(self.path):
            return self.blocks[0].start
        inner = [(place, block) for place, block in self.headings if place >= depth]
        return inner[0][1].start if [place for place, _ in inner] == [*range(depth, len(self.path))] else None


@dataclass(frozen=True, slots=True)
class Outline:
    """A document as one text and its sections in order; heading lines are in the text."""

    text: str
    sections: tuple[Section, ...]


def lay_out(partition: Partition, *, title: str | None) -> Outline:
    """Join the elements into one text and find its sections.

    Elements stand apart by a blank line, list items by a line end, indented by their depth. A path begins with
    the title, which a heading that repeats it does not lengthen.
    """
    text, blocks = _join(partition.elements)
    writer = _SectionWriter(text, title)
    for block in blocks:
        writer.add(block)
    return Outline(text, tuple(writer.finish()))


def _join(elements: list[Element]) -> tuple[str, list[Block]]:
    parts: list[str] = []
    blocks: list[Block] = []
    position = 0
    for element in elements:
        words = element.text.rstrip().lstrip("\n" if element.kind == "code" else None)
        if not words:
            continue
        gap = _gap(blocks[-1].kind if blocks else None, element)
        start = position + len(gap)
        position = start + len(words)
        parts += (gap, words)
        blocks.append(Block(element.kind, start, position, element.level, element.page))
    return "".join(parts), blocks


def _gap(before: Kind | None, element: Element) -> str:
    indent = INDENT * element.level if element.kind == "list" else ""
    if before is None:
        return indent
    return ("\n" if before == element.kind == "list" else "\n\n") + indent


@dataclass(slots=True)
class _SectionWriter:
    text: str
    title: str | None
    sections: list[Section] = field(default_factory=list)
    _ancestors: list[tuple[int, str]] = field(default_factory=list)
    _headings: list[tuple[int, Block]] = field(default_factory=list)
    _blocks: list[Block] = field(default_factory=list)

    def add(self, block: Block) -> None:
        if block.kind != "heading":
            self._blocks.append(block)
            return
        if self._blocks or (self._headings and self._headings[-1][1].level >= block.level):
            self._close()
        self._enter(block)

    def finish(self) -> list[Section]:
        self._close()
        return self.sections

    def _enter(self, heading: Block) -> None:
        while self._ancestors and self._ancestors[-1][0] >= heading.level:
            self._ancestors.pop()
        words = " ".join(self.text[heading.start : heading.end].split())
        repeats_title = not self._ancestors and self.title is not None and words.casefold() == self.title.casefold()
        if not repeats_title:
            self._ancestors.append((heading.level, words))
        self._headings.append((len(self._path()) - 1, heading))

    def _close(self) -> None:
        """End the section; a heading that nothing came under becomes the body of one."""
        if self._blocks:
            self.sections.append(Section(self._path(), tuple(self._headings), tuple(self._blocks)))
        elif self._headings:
            place, heading = self._headings.pop()
            self.sections.append(Section(self._path()[:place], tuple(self._headings), (heading,)))
        self._headings, self._blocks = [], []

    def _path(self) -> tuple[str, ...]:
        root = (self.title,) if self.title else ()
        return (*root, *(words for _, words in self._ancestors))
