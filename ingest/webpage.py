"""A web page's tree, brought into the form in which a partitioner keeps its structure.

`drop_chrome` takes away what stands around the document; `make_plain` rewrites what would be lost on the way:
images, folded sections, layout tables, code drawn line by line, the numbers of a list.
"""

import re
from collections.abc import Iterable, Iterator
from html import escape
from html.parser import HTMLParser
from textwrap import dedent

from lxml import html
from lxml.html import HtmlElement

# libxml2 stops at 255 levels and says nothing of what it dropped; unstructured then sees an empty page.
MAX_DEPTH = 200
_LONGEST_TERM = 80
_LANGUAGE_BAR_LABEL = 40

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = frozenset(
    (
        "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption "
        "figure footer form h1 h2 h3 h4 h5 h6 header hr html li main nav ol p pre section summary table "
        "tbody td tfoot th thead tr ul"
    ).split()
)
_UNREAD = frozenset(("script style noscript template head iframe object select textarea svg button").split())
_RENAMED = {
    "details": "div",
    "summary": "p",
    "figure": "div",
    "figcaption": "p",
    "form": "div",
    "fieldset": "div",
    "legend": "p",
    "label": "span",
}
_CHROME_NAME = re.compile(
    r"(?:(?:page|site|main|global|doc|document|top|bottom|side|sub|primary|secondary|sphinx)[-_]?)*"
    r"(?:header|footer|nav|navbar|navheader|navfooter|navigation|menu|sidebar|breadcrumbs?|toc|table-of-contents"
    r"|pagination|pager|skip-?link|skip-?to-?content|cookie-?(?:banner|consent|notice|bar))",
    re.IGNORECASE,
)
_COMMENTS_NAME = re.compile(r"comments(?:[-_]?(?:section|area|list))?|disqus(?:[-_]thread)?|respond", re.IGNORECASE)
_CHROME_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "menu", "menubar", "alertdialog"))
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|bmp)", re.IGNORECASE)
_TITLE_SEPARATOR = re.compile(r"\s+[-–—|·:»]+\s+")
_LINE_BREAK = "\ue000"  # of a private use area: no page says it
_BULLETS = " \t\n•◦▪‣·"
_NOT_ALNUM = re.compile(r"[\W_]+")
_ALNUM = re.compile(r"[^\W_]")


def parse(markup: str) -> HtmlElement | None:
    """Parse a page or a fragment into the tree of a page; None when nothing is in it."""
    markup = _XML_DECLARATION.sub("", markup, count=1)
    if not markup.strip():
        return None
    parser = html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    root: HtmlElement | None = html.document_fromstring(markup, parser=parser, ensure_head_body=True)
    return root


def render(root: HtmlElement) -> str:
    """Write the tree back as HTML."""
    return str(html.tostring(root, encoding="unicode"))


def is_too_deep(root: HtmlElement) -> bool:
    """Whether it is nested deeper than a partitioner follows."""
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
    return bool(level)


def longest_text(root: HtmlElement) -> int:
    """Count the characters of its longest run of text without any markup."""
    return max((max(len(element.text or ""), len(element.tail or "")) for element in root.iter()), default=0)


def title_of(root: HtmlElement) -> str | None:
    """Name the page: its only `h1`, unless that is the site's name at the end of `<title>`; otherwise its `<title>`."""
    stated = _words(root.find(".//head/title"))
    headings = [text for heading in root.iter("h1") if (text := _words(heading))]
    if not headings:
        return stated or None
    *page, site = _TITLE_SEPARATOR.split(stated)
    is_site = bool(page) and site.casefold() == headings[0].casefold()
    return stated if stated and (is_site or len(headings) > 1) else headings[0]


# --- what is around the document -------------------------------------------------------------------------------------


def drop_chrome(root: HtmlElement) -> None:
    """Remove navigation, headers and footers of the site, language bars, in-page links, comment sections.

    Rules of markup only, none for a particular site. Whatever holds the page's `h1` or half of its text stays.
    """
    _drop_named(root)
    _drop_language_bars(root)
    _drop_links_before_title(root)
    drop_in_page_links(root)
    _drop_comments(root)


def _drop_named(root: HtmlElement) -> None:
    total = _weight(root)
    for element in list(root.iter(*_BLOCKS - {"html", "body"})):
        if _is_chrome(element) and not _is_document(element, total):
            _drop_with_heading(element)


def _is_chrome(element: HtmlElement) -> bool:
    if element.get("role", "").lower() in _CHROME_ROLES or element.tag == "nav":
        return True
    if element.tag in {"header", "footer"}:
        return not any(True for _ in element.iterancestors("article", "main", "section"))
    return any(_CHROME_NAME.fullmatch(name) for name in _names(element))


def _drop_language_bars(root: HtmlElement) -> None:
    for block in list(root.iter("p", "div", "ul", "td")):
        links = list(block.iter("a"))
        alternates = sum(link.get("hreflang") is not None for link in links)
        unlinked = _weight(block) - _weight(*links)
        if alternates > 1 and 2 * alternates >= len(links) and unlinked < _LANGUAGE_BAR_LABEL:
            _drop(block)


def _drop_links_before_title(root: HtmlElement) -> None:
    """Drop what is mostly links above the page's only `h1`: the path to it, the site's menu."""
    headings = list(root.iter("h1"))
    if len(headings) != 1:
        return
    for block in headings[0].xpath("preceding::*[self::p or self::div or self::ul or self::ol or self::table]"):
        if 2 * _weight(*block.iter("a")) >= _weight(block) or not _weight(block):
            _drop(block)


def drop_in_page_links(root: HtmlElement) -> None:
    """Drop permanent-link signs, tables of contents and "back to top": the page says it all again elsewhere."""
    for link in list(root.xpath("//a[starts-with(@href, '#')]")):
        if not _ALNUM.search(_label(link)):
            _drop(link)
    for block in list(root.iter("li", "p", "div")):
        if block.tag == "li" and block.getparent().tag == "ol":
            continue  # steps in their order: content
        links = block.xpath(".//a[starts-with(@href, '#')]")
        if links and block.find(".//h2") is None and _weight(block) == _weight(*links):
            _drop_with_empty_list(block)


def _drop_with_empty_list(item: HtmlElement) -> None:
    parent = item.getparent()
    _drop(item)
    if parent is not None and parent.tag == "ul" and not _weight(parent):
        _drop_with_heading(parent)


def _drop_with_heading(block: HtmlElement) -> None:
    """Drop a block with the line that leads to it, and the heading above when nothing else stands under that."""
    before, after = block.getprevious(), block.getnext()
    _drop(block)
    if (before is not None and before.tag == "p" and _words(before).endswith(":")) or (
        before is not None and before.tag in _HEADINGS[1:] and (after is None or after.tag in _HEADINGS)
    ):
        _drop(before)


def _drop_comments(root: HtmlElement) -> None:
    total = _weight(root)
    for element in list(root.iter()):
        if not any(_COMMENTS_NAME.fullmatch(name) for name in _names(element)):
            continue
        heading = next((e for e in (element, *element.iterancestors()) if e.tag in _HEADINGS), None)
        section = [element] if heading is None else list(_section(heading))
        if not any(_is_document(part, total) for part in section):
            for part in section:
                _drop(part)


def _section(heading: HtmlElement) -> Iterator[HtmlElement]:
    """A heading and the siblings up to the next one of its rank."""
    yield heading
    for sibling in heading.itersiblings():
        if sibling.tag in _HEADINGS and sibling.tag <= heading.tag:
            return
        yield sibling


# --- what a partitioner would lose -----------------------------------------------------------------------------------


def make_plain(root: HtmlElement) -> None:
    """Rewrite, in place, the constructs whose text or structure unstructured drops; no text is taken away."""
    _rename(root)
    _images_to_text(root)
    for pre in list(root.iter("pre")):
        _flatten_code(pre)
    _code_paragraphs_to_pre(root)
    _layout_tables_to_blocks(root)
    _double_breaks_to_paragraphs(root)
    _separate_cell_items(root)
    _join_terms(root)
    _mark_items(root)


def _rename(root: HtmlElement) -> None:
    for element in list(root.iter(*_RENAMED)):
        element.tag = _RENAMED[element.tag]
    for button in list(root.iter("button")):
        # An accordion's heading is a button; any other button is a control.
        if any(True for _ in button.iterancestors(*_HEADINGS)):
            button.drop_tag()
    for element in root.xpath("//*[@role='heading']"):
        level = element.get("aria-level", "2")
        element.tag = f"h{level}" if level in "123456" else "h6"
    if root.find(".//main") is None and (main := root.find(".//div[@role='main']")) is not None:
        main.tag = "main"


def _images_to_text(root: HtmlElement) -> None:
    for image in list(root.iter("img")):
        label = _label(image)
        spoken = f" {label} " if _ALNUM.search(label) and not _FILE_NAME.fullmatch(label) else " "
        image.tail = spoken + (image.tail or "")
        image.drop_tree()


def _flatten_code(pre: HtmlElement) -> None:
    for part in list(pre.iterdescendants()):
        if part.tag == "br" or (part.tag in _BLOCKS and not (part.tail or "").startswith("\n")):
            part.tail = "\n" + (part.tail or "")
    _set_code(pre, pre.text_content())


def _code_paragraphs_to_pre(root: HtmlElement) -> None:
    """A paragraph that is one piece of code in several lines is a code block."""
    for block in list(root.iter("p", "div")):
        children = list(block)
        if len(children) != 1 or children[0].tag not in {"code", "samp", "kbd", "tt"} or _own_text(block).strip():
            continue
        breaks = list(block.iter("br"))
        if not breaks:
            continue
        for line_break in breaks:
            line_break.tail = _LINE_BREAK + (line_break.tail or "")
        lines = re.sub(r"[ \t\n]+", " ", block.text_content()).split(_LINE_BREAK)
        _set_code(block, "\n".join(line.removeprefix(" ") for line in lines))


def _double_breaks_to_paragraphs(root: HtmlElement) -> None:
    """Two line breaks end a paragraph; what stands inside `<font>` and its like must become a block for it to end."""
    for line_break in list(root.iter("br")):
        following = line_break.getnext()
        if following is not None and following.tag == "br" and not (line_break.tail or "").strip():
            line_break.tag = "p"
            for around in line_break.iterancestors():
                if around.tag in _BLOCKS:
                    break
                around.tag = "div"


def _set_code(block: HtmlElement, code: str) -> None:
    lines = dedent(code.replace("\xa0", " ").expandtabs(4)).split("\n")
    code = "\n".join(line.rstrip() for line in lines).strip("\n")
    tail = block.tail
    numbers = code.split()
    if not numbers or (len(numbers) > 1 and numbers == [str(n + 1) for n in range(len(numbers))]):
        block.drop_tree()  # nothing, or the gutter of line numbers
        return
    block.clear()
    block.tag, block.text, block.tail = "pre", code, tail


def _layout_tables_to_blocks(root: HtmlElement) -> None:
    for table in list(root.iter("table")):
        if _is_layout(table):
            for part in list(table.iter("table", "caption", "thead", "tbody", "tfoot", "tr", "td", "th")):
                if part is table or next(part.iterancestors("table"), None) is None:
                    part.tag = "div"


def _is_layout(table: HtmlElement) -> bool:
    if table.get("role") in {"presentation", "none"}:
        return True
    if any(True for _ in table.iter("th")):
        return False
    if any(True for _ in table.iterdescendants("table", "pre", *_HEADINGS)):
        return True
    cells = list(table.iter("td"))
    return len(cells) <= 1 or any(len(list(cell.iter("p"))) > 1 for cell in cells)


def _separate_cell_items(root: HtmlElement) -> None:
    """A cell becomes one line: a comma keeps its list items apart, a space its blocks."""
    for cell in list(root.iter("td", "th")):
        for block in list(cell.iterdescendants(*_BLOCKS, "br")):
            listed = block.tag == "li" and block.getnext() is not None
            block.tail = (", " if listed else " ") + (block.tail or "")


def _join_terms(root: HtmlElement) -> None:
    """Make a term and its definition one item, `term: definition`."""
    for term in list(root.iter("dt")):
        text, definition = _words(term), term.getnext()
        is_short = 0 < len(text) <= _LONGEST_TERM and not any(True for _ in term.iterdescendants(*_BLOCKS))
        if is_short and definition is not None and definition.tag == "dd" and _opens_with_words(definition):
            definition.text = f"{text}{' ' if text[-1] in '.:;?!' else ': '}{(definition.text or '').lstrip()}"
            term.drop_tree()


def _mark_items(root: HtmlElement) -> None:
    for items in list(root.iter("ol", "ul")):
        if any(True for _ in items.iterancestors("td", "th")):
            continue
        number = _integer(items.get("start"), 1)
        for item in items.findall("li"):
            number = _integer(item.get("value"), number)
            _mark(item, f"{number}. " if items.tag == "ol" else "- ")
            number += 1


def _mark(item: HtmlElement, marker: str) -> None:
    """Put the marker before the item's first words; an item that opens with a heading, list or code has none."""
    if _opens_with_words(item):
        item.text = marker + (item.text or "").lstrip(_BULLETS)


def _opens_with_words(item: HtmlElement) -> bool:
    """Whether its first words are its own text, after the paragraphs that merely wrap them are unwrapped."""
    while len(item) and not (item.text or "").strip() and item[0].tag in {"p", "div"}:
        item[0].drop_tag()
    opens_with_block = len(item) and not (item.text or "").strip() and item[0].tag in _BLOCKS
    return not opens_with_block and bool(_words(item))


# --- a page too deep to follow ---------------------------------------------------------------------------------------


def flattened(markup: str) -> str:
    """Rewrite a page as one level of headings, paragraphs, list items and code, in order, however deep it is."""
    flattener = _Flattener()
    flattener.feed(markup)
    flattener.close()
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in flattener.blocks())


class _Flattener(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._finished: list[tuple[str, str]] = []
        self._tag = "p"
        self._text: list[str] = []
        self._unread = 0

    def blocks(self) -> list[tuple[str, str]]:
        self._finish("p")
        return self._finished

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _UNREAD:
            self._unread += 1
        elif tag in _BLOCKS:
            self._finish(tag if tag in {*_HEADINGS, "li", "pre"} else "p")
        elif tag == "br":
            self._text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNREAD:
            self._unread = max(0, self._unread - 1)
        elif tag in _BLOCKS:
            self._finish("p")

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self._text.append(data)

    def _finish(self, next_tag: str) -> None:
        text = "".join(self._text).strip("\n")
        if text.strip():
            self._finished.append((self._tag, text))
        self._tag, self._text = next_tag, []


# --- small things about an element --------------------------------------------------------------------------------


def _drop(element: HtmlElement) -> None:
    """Take an element out with all it holds, unless a rule before has; the text after it stays."""
    if element.getparent() is not None:
        element.drop_tree()


def _weight(*elements: HtmlElement) -> int:
    """Letters and digits of text in them."""
    return sum(len(_NOT_ALNUM.sub("", "".join(element.itertext()))) for element in elements)


def _is_document(element: HtmlElement, total: int) -> bool:
    return element.find(".//h1") is not None or 2 * _weight(element) > total


def _label(element: HtmlElement) -> str:
    """What a link or an image says: its text and the alternative texts of its images."""
    images: Iterable[HtmlElement] = element.iter("img")
    return " ".join(" ".join([*element.itertext(), *(image.get("alt", "") for image in images)]).split())


def _names(element: HtmlElement) -> list[str]:
    return " ".join((element.get("id", ""), element.get("class", ""))).split()


def _own_text(element: HtmlElement) -> str:
    return (element.text or "") + "".join(child.tail or "" for child in element)


def _words(element: HtmlElement | None) -> str:
    return "" if element is None else " ".join(element.text_content().split())


def _integer(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch(r"-?\d{1,9}", text.strip()) else default
