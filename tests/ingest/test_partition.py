import pytest

from ingest.partition import Element, Partition, partition
from rag.errors import UnreadableDocument

MARKDOWN, HTML, TEXT = "text/markdown", "text/html", "text/plain"


def read(text: str, media_type: str = MARKDOWN) -> Partition:
    return partition(text.encode(), media_type)


def told(text: str, media_type: str = MARKDOWN) -> list[tuple[str, str]]:
    return [(element.kind, element.text) for element in read(text, media_type).elements]


# --- Markdown ---------------------------------------------------------------------------------------------------------


def test_headings_carry_their_depth() -> None:
    elements = read("# A\n\n## B\n\n#### C\n\nBody.\n").elements
    assert elements == [
        Element("heading", "A", 0),
        Element("heading", "B", 1),
        Element("heading", "C", 3),
        Element("text", "Body."),
    ]


def test_a_heading_after_code_keeps_its_depth() -> None:
    elements = read("# A\n\n```\ncode\n```\n\n## B\n\nBody.\n").elements
    assert [(e.text, e.level) for e in elements if e.kind == "heading"] == [("A", 0), ("B", 1)]


def test_front_matter_gives_the_title_and_is_not_text() -> None:
    read_ = read('---\ntitle: "Reset the \\"Nano\\""\nid: 7\n---\n\nBody of it.\n')
    assert read_.title == 'Reset the "Nano"'
    assert [element.text for element in read_.elements] == ["Body of it."]


@pytest.mark.parametrize(
    ("line", "title"),
    [("title: Plain words # comment", "Plain words"), ("title: 'It''s quoted'", "It's quoted"), ("name: none", None)],
)
def test_titles_of_front_matter(line: str, title: str | None) -> None:
    assert read(f"---\n{line}\n---\nBody.\n").title == title


def test_a_rule_at_the_top_is_not_front_matter() -> None:
    assert told("---\n\nNot metadata.\n\n---\n\nBody.\n") == [("text", "Not metadata."), ("text", "Body.")]


@pytest.mark.parametrize(
    ("markdown", "title"),
    [("# One\n\nBody.", "One"), ("## Opening\n\nBody.", "Opening"), ("Body.\n\n## Later\n\nBody.", None)],
)
def test_the_first_heading_is_the_title_where_nothing_states_one(markdown: str, title: str | None) -> None:
    assert read(markdown).title == title


def test_lists_keep_their_order_depth_and_numbers() -> None:
    elements = read("3. Open it.\n4. Close it.\n   - Wait.\n\n- Done\n").elements
    assert elements == [
        Element("list", "3. Open it.", 0),
        Element("list", "4. Close it.", 0),
        Element("list", "- Wait.", 1),
        Element("list", "- Done", 0),
    ]


def test_a_loose_list_is_a_list() -> None:
    assert told("1. One thing.\n\n   More of it.\n\n2. Two.\n") == [
        ("list", "1. One thing."),
        ("text", "More of it."),
        ("list", "2. Two."),
    ]


def test_code_is_whole_even_inside_a_list() -> None:
    assert told("1. Run:\n\n   ```sh\n   a\n\n     b\n   ```\n\n2. Done.\n") == [
        ("list", "1. Run:"),
        ("code", "a\n\n  b"),
        ("list", "2. Done."),
    ]


def test_a_table_is_rows_of_cells_and_says_that_it_has_a_header() -> None:
    (table,) = read("| Name | Port |\n|---|---|\n| http | 80 |\n| **ssh** | 22 |\n").elements
    assert table == Element("table", "Name | Port\nhttp | 80\nssh | 22", 1)


def test_links_keep_their_words_and_images_their_alternative_text() -> None:
    markdown = (
        "Click [the *gear*](https://x.org) ![a red gear](gear.png), then ![](x.png) go ![IMG_1.png](IMG_1.png).\n"
    )
    assert told(markdown) == [("text", "Click the gear a red gear , then go .")]


def test_markup_for_a_renderer_is_not_text() -> None:
    markdown = (
        "## Find it {#find}\n\n> [!WARNING]\n> Mind the gap.\n\n[Track](https://x.org){.button}\n\n<!-- hidden -->\n"
    )
    assert told(markdown) == [("heading", "Find it"), ("text", "Warning: Mind the gap."), ("text", "Track")]


def test_a_table_of_contents_is_left_out_and_steps_are_not() -> None:
    contents = "In this article:\n\n- [First](#first)\n- [Second](#second)\n\n"
    assert told(contents + "Body.\n") == [("text", "Body.")]
    assert told("1. [First](#first)\n2. [Second](#second)\n") == [("list", "1. First"), ("list", "2. Second")]


def test_folded_sections_and_html_are_read() -> None:
    markdown = "<details><summary>More</summary>\n\nHidden *words*.\n\n</details>\n"
    assert told(markdown) == [("text", "More"), ("text", "Hidden words.")]


# --- HTML -------------------------------------------------------------------------------------------------------------


def test_a_page_keeps_its_structure() -> None:
    page = """<!doctype html><html><head><title>Ports - Site</title><script>x()</script></head><body>
      <nav><a href="/">Home</a></nav>
      <h1>Ports</h1><p>One <b>bold</b>&nbsp;word.</p><h2>List</h2>
      <ul><li>a<ul><li>b</li></ul></li></ul><dl><dt>Port<dd>A number.</dl>
      <pre>x = 1
  y = 2</pre><table><tr><th>K<th>V<tr><td>a<br>b<td><ul><li>1</li><li>2</li></ul></table></body></html>"""
    read_ = read(page, HTML)
    assert read_.title == "Ports"
    assert read_.elements == [
        Element("heading", "Ports", 0),
        Element("text", "One bold word."),
        Element("heading", "List", 1),
        Element("list", "- a", 0),
        Element("list", "- b", 1),
        Element("list", "Port: A number.", 0),
        Element("code", "x = 1\n  y = 2"),
        Element("table", "K | V\na b | 1, 2", 1),
    ]


def test_a_table_with_headers_in_its_first_column_only_has_no_header_row() -> None:
    (table,) = read("<table><tr><th>Status<td>Base<tr><th>Module<td>core</table>", HTML).elements
    assert table == Element("table", "Status | Base\nModule | core", 0)


def test_a_caption_stands_before_its_table() -> None:
    assert told("<table><caption>Ports</caption><tr><td>a</td><td>1</td></tr></table>", HTML) == [
        ("text", "Ports"),
        ("table", "a | 1"),
    ]


@pytest.mark.parametrize("depth", [300, 3000])
def test_a_page_nested_deeper_than_the_parser_follows_loses_nothing(depth: int) -> None:
    page = "<div>" * depth + "Deep words." + "</div>" * depth + "<h2>After</h2><ul><li>item one</li></ul>"
    assert told(page, HTML) == [("text", "Deep words."), ("heading", "After"), ("list", "item one")]


def test_inline_nesting_beyond_the_recursion_limit_loses_nothing() -> None:
    assert told("<p>" + "<span>" * 900 + "Deep words." + "</span>" * 900 + "</p><p>After it.", HTML) == [
        ("text", "Deep words."),
        ("text", "After it."),
    ]


def test_markdown_nested_without_end_loses_nothing() -> None:
    assert told(">" * 150 + " Deep quote.\n\nAfter it.\n") == [("text", "Deep quote."), ("text", "After it.")]
    items = "\n".join("  " * n + f"- item {n}" for n in range(600))
    assert "item 599" in " ".join(text for _, text in told(items))


def test_an_endless_paragraph_is_refused_rather_than_lost() -> None:
    with pytest.raises(UnreadableDocument) as refusal:
        read("<p>" + "word " * 500_000 + "</p>", HTML)
    assert refusal.value.reason == "paragraph_too_long"


# --- plain text -------------------------------------------------------------------------------------------------------


def test_plain_text_is_paragraphs_and_lists() -> None:
    bullets = "\u2022 one thing\n\n\u2022 another thing\n\n2. numbered\n"
    text = f"The first paragraph is broken\nover two lines of text.\n\n{bullets}"
    assert told(text, TEXT) == [
        ("text", "The first paragraph is broken over two lines of text."),
        ("list", "- one thing"),
        ("list", "- another thing"),
        ("list", "2. numbered"),
    ]


def test_a_heading_in_plain_text_must_read_like_one() -> None:
    assert told("Chapter One\n\nIt was a dark night and we had to leave the house.\n", TEXT)[0] == (
        "heading",
        "Chapter One",
    )
    assert told("Thank you very much.\n\nIt was a dark night and we had to leave.\n", TEXT)[0][0] == "text"
    assert told("It was a dark night and we had to leave.\n\nThe End\n", TEXT)[-1] == ("text", "The End")


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", [MARKDOWN, HTML, TEXT])
def test_an_empty_document_has_no_elements(media_type: str) -> None:
    assert partition(b"", media_type).elements == []


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b" \n\t\n", MARKDOWN),
        (b" \n\t\n", HTML),
        (b"\xef\xbb\xbf", TEXT),
        (b"<html><body><script>x()</script></body></html>", HTML),
        (b"![](only.png)", MARKDOWN),
    ],
)
def test_bytes_without_words_are_a_failure_with_a_hint(data: bytes, media_type: str) -> None:
    with pytest.raises(UnreadableDocument) as refusal:
        partition(data, media_type)
    assert refusal.value.reason == "no_text"
    assert refusal.value.hint


def test_other_media_types_are_refused() -> None:
    with pytest.raises(UnreadableDocument) as refusal:
        partition(b"%PDF-1.7", "application/pdf")
    assert refusal.value.reason == "unsupported_format"


def test_control_characters_do_not_reach_the_elements() -> None:
    assert told("# T\x00itle\n\nbo\u200bdy\x07 of so\u00adme text\n") == [
        ("heading", "Title"),
        ("text", "body of some text"),
    ]


def test_a_declared_charset_is_used() -> None:
    data = "<p>Zażółć gęślą jaźń.</p>".encode("iso-8859-2")
    read_ = partition(data, HTML, declared="text/html; charset=ISO-8859-2")
    assert read_.elements == [Element("text", "Zażółć gęślą jaźń.")]


def test_partitioning_is_deterministic() -> None:
    page = "<h1>A</h1><p>One.</p><ul><li>x</li></ul><table><tr><td>1</td><td>2</td></tr></table>"
    assert read(page, HTML) == read(page, HTML)
