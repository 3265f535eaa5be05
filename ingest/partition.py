"""Bytes to a list of headings, paragraphs, list items, tables and code; the only door to `unstructured`.

Meant for the sandboxed child: the library is imported on first use, costs two CPU seconds, and can be made to
run for minutes by a small file.
"""

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

import msgspec
from lxml import etree, html
from markdown_it import MarkdownIt

from ingest import nlp_stub, webpage
from ingest.sniff import HTML, MARKDOWN, READABLE, TEXT, clean, decode, sniff
from rag.errors import UnreadableDocument

__all__ = ["Element", "Kind", "Partition", "partition", "sniff"]

Kind = Literal["heading", "text", "list", "table", "code"]
Partitioner = Callable[..., list[Any]]

_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n(?=[\w\"'-]+[ \t]*:)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(\S.*)$", re.MULTILINE)
_QUOTED = re.compile(r"""(["'])(.*)\1""")
# Attributes of kramdown and pandoc, `## Title {#id}` and `[link](url){.button}`, are addressed to a renderer.
_HEADING_ATTRIBUTES = re.compile(r"^(#{1,6} [^\n{]{0,300}?)[ \t]*\{:?[ \t]*[#.][^}\n]{1,120}\}[ \t]*$", re.MULTILINE)
_LINK_ATTRIBUTES = re.compile(r"(?<=\))\{:?[ \t]*[#.][^}\n]{1,120}\}")
_ALERT = re.compile(r"^((?:[ \t]*>)+[ \t]*)\[!(\w+)\][ \t]*\n(?:[ \t]*>)+[ \t]*", re.MULTILINE)
_ITEM_MARKER = re.compile(r"(?:\w{1,3}[.)]|[-*•])\s")
_PROSE_END = re.compile(r"[.!?:;,…。！？]['\"”’)]*$")
# libxml2 gives up on a text of ten million bytes, and loses it without a word.
_LONGEST_TEXT = 2_000_000
_KINDS: dict[str, Kind] = {"Title": "heading", "ListItem": "list", "Table": "table", "CodeSnippet": "code"}
_DROPPED = frozenset(("Header", "Footer", "PageBreak", "PageNumber"))


class Element(msgspec.Struct, frozen=True):
    """A block of a document, in reading order.

    `level` is the depth of a heading (0 = h1) or of a list item (0 = outermost), and for a table the number of
    header rows it opens with (0 or 1). A table's rows are lines, its cells stand between ` | `. A list item
    opens with its `- ` or `1. `.
    """

    kind: Kind
    text: str
    level: int = 0
    page: int | None = None


class Partition(msgspec.Struct, frozen=True):
    """A document taken apart; `title` is None when the document names itself nowhere."""

    media_type: str
    title: str | None
    elements: list[Element]


def partition(data: bytes, media_type: str, *, declared: str | None = None) -> Partition:
    """Take a document apart into its elements; an empty document has none.

    `declared`, a Content-Type, is asked for its charset only. Raises UnreadableDocument with the code
    `unsupported_format`, `unknown_encoding`, `paragraph_too_long`, or `no_text` for a document that holds bytes
    and no words.
    """
    if media_type not in READABLE:
        raise UnreadableDocument(
            f"{media_type} is not read.", code="unsupported_format", hint="Send " + _either(READABLE)
        )
    text = decode(data, declared=declared or media_type)
    read = {MARKDOWN: _read_markdown, HTML: _read_html, TEXT: _read_text}[media_type]
    title, elements = read(text)
    if data and not elements:
        raise UnreadableDocument(
            "No text was found in the document.",
            code="no_text",
            hint="It may hold only images, scripts or blanks; send a version that has words in it.",
        )
    return Partition(media_type=media_type, title=clean(title or "").strip() or None, elements=elements)


def _read_markdown(text: str) -> tuple[str | None, list[Element]]:
    title, body = _split_front_matter(text)
    body = _LINK_ATTRIBUTES.sub("", _HEADING_ATTRIBUTES.sub(r"\1", body))
    body = _ALERT.sub(lambda match: f"{match[1]}{match[2].capitalize()}: ", body)
    try:
        markup = _commonmark().render(body)
    except RecursionError:
        return title, _read_text(body)[1]
    root = webpage.parse(markup)
    if root is not None:
        webpage.drop_in_page_links(root)
    elements = _elements_of_page(markup, root)
    return title or _first_heading(elements), elements


def _commonmark() -> MarkdownIt:
    """Make the parser of Markdown.

    It is not the one behind `partition_md`, which loses code inside list items and lists that follow a paragraph.
    Its bound on nesting drops what is deeper without a word, so it is set out of reach: too deep is a RecursionError.
    """
    return MarkdownIt("commonmark", {"html": True, "maxNesting": 100_000}).enable(["table", "strikethrough"])


def _read_html(markup: str) -> tuple[str | None, list[Element]]:
    root = webpage.parse(markup)
    if root is None:
        return None, []
    title = webpage.title_of(root)
    webpage.drop_chrome(root)
    return title, _elements_of_page(markup, root)


def _read_text(text: str) -> tuple[None, list[Element]]:
    elements = list(_translate(_library("text")(text=text, languages=[""])))
    following = [*elements[1:], None]
    return None, [_believe(*pair) for pair in zip(elements, following[: len(elements)], strict=True)]


def _first_heading(elements: list[Element]) -> str | None:
    """The heading of rank one, or the one that opens the document."""
    ranked = (e.text for n, e in enumerate(elements) if e.kind == "heading" and (e.level == 0 or n == 0))
    return next(ranked, None)


def _elements_of_page(markup: str, root: html.HtmlElement | None) -> list[Element]:
    if root is None:
        return []
    if webpage.longest_text(root) > _LONGEST_TEXT:
        raise UnreadableDocument(
            "A single paragraph of the document is longer than a book.",
            code="paragraph_too_long",
            hint="Break it into paragraphs, or take embedded data out of it.",
        )
    if not webpage.is_too_deep(root):
        webpage.make_plain(root)
        if elements := _partition_html(webpage.render(root)):
            return elements
    flat = webpage.parse(webpage.flattened(markup))
    return [] if flat is None else _partition_html(webpage.render(flat))


def _partition_html(markup: str) -> list[Element]:
    return list(_translate(_library("html")(text=markup, languages=[""])))


def _translate(found: list[Any]) -> Iterator[Element]:
    """Turn unstructured's elements into ours; the heading path comes from `category_depth`, never `parent_id`."""
    for element in found:
        page = element.metadata.page_number
        kind = _KINDS.get(element.category, "text")
        level = int(element.metadata.category_depth or 0)
        if element.category in _DROPPED:
            continue
        if kind == "table":
            yield from _translate_table(element.metadata.text_as_html or "", page)
        elif text := clean(element.text or "").strip("\n" if kind == "code" else None):
            yield Element(kind, text, max(0, level - 1) if kind == "list" else level, page)


def _translate_table(markup: str, page: int | None) -> Iterator[Element]:
    table = html.fragment_fromstring(markup)
    for caption in table.iter("caption"):
        yield Element("text", clean(caption.text_content()), 0, page)
    rows = [cells for row in table.iter("tr") if any(cells := [_cell_text(cell) for cell in row])]
    if rows:
        lines = "\n".join(" | ".join(cells).rstrip(" |") for cells in rows)
        yield Element("table", lines, int(_has_header(table)), page)


def _has_header(table: html.HtmlElement) -> bool:
    first: etree._Element | None = next(table.iter("tr"), None)
    return first is not None and (first.getparent().tag == "thead" or all(cell.tag == "th" for cell in first))


def _cell_text(cell: html.HtmlElement) -> str:
    return clean(" ".join(" ".join(cell.itertext()).split()).replace(" ,", ","))


def _believe(element: Element, following: Element | None) -> Element:
    """Doubt what was guessed in plain text: a heading must read like one and have text under it."""
    if element.kind == "list" and not _ITEM_MARKER.match(element.text):
        return msgspec.structs.replace(element, text="- " + element.text)
    if element.kind == "heading":
        reads_like_one = not _PROSE_END.search(element.text) and not element.text[0].islower()
        if not reads_like_one or following is None or following.kind == "heading":
            return msgspec.structs.replace(element, kind="text")
    return element


def _split_front_matter(text: str) -> tuple[str | None, str]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return None, text
    title = _FRONT_TITLE.search(match[1])
    return (_unquote(title[1].strip()) if title else None), text[match.end() :]


def _unquote(value: str) -> str | None:
    if value[0] in ">|":
        return None  # a block of several lines: the first heading will do
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        return value.partition(" #")[0].strip() or None
    return quoted[2].replace('\\"', '"').replace("''", "'").strip() or None


def _either(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1] + "."


@cache
def _library(name: str) -> Partitioner:
    """Import a partitioner of unstructured, with its telemetry off and its tokenizer replaced."""
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["UNSTRUCTURED_DISABLE_NOTICE"] = "1"
    nlp_stub.install()
    if name == "text":
        from unstructured.partition.text import partition_text

        return partition_text
    from unstructured.partition.html import partition_html

    return partition_html


def warm_up() -> None:
    """Import the library now rather than with the first document."""
    for name in ("text", "html"):
        _library(name)
