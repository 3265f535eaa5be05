import pytest

from ingest import webpage

ARTICLE = "<p>" + "The article itself says many things at some length. " * 20 + "</p>"


def without_chrome(body: str) -> str:
    root = webpage.parse(f"<html><body>{body}</body></html>")
    assert root is not None
    webpage.drop_chrome(root)
    return words_of(root).replace(" ".join(ARTICLE[3:-4].split()), "ARTICLE")


def words_of(root: webpage.HtmlElement) -> str:
    return " ".join(" ".join(root.itertext()).split())


def plain(body: str) -> str:
    root = webpage.parse(f"<html><body>{body}</body></html>")
    assert root is not None
    webpage.make_plain(root)
    return webpage.render(root).split("<body>")[1].split("</body>")[0].strip()


@pytest.mark.parametrize(
    "chrome",
    [
        "<nav>Home</nav>",
        "<header>Site</header>",
        "<footer>Imprint</footer>",
        '<div role="navigation">Home</div>',
        '<div id="page-header"><p>Apache HTTP Server</p></div>',
        '<ul class="menu main-menu">Home</ul>',
        '<div class="sphinxsidebar"><h3>Contents</h3></div>',
        '<div class="cookie-banner">We use cookies</div>',
        '<h2>Contents</h2><div class="toc"><a href="/1">One</a></div>',
        '<p>Languages: <a hreflang="de" href="/de">de</a> | <a hreflang="fr" href="/fr">fr</a></p>',
        '<p><a href="#top">Back to top</a></p>',
        '<div class="up"><a href="#x"><img src="up.gif" alt="top"></a></div>',
        '<h3>Topics</h3><ul><li><a href="#a">A</a></li><li><img src="d.gif"> <a href="#b">B</a></li></ul>',
        '<h2><a id="comments_section">Comments</a></h2><div>Be polite.</div>',
        '<h2 id="comments">Comments</h2><div id="disqus_thread">Be polite.</div><p>Or not.</p>',
    ],
)
def test_what_stands_around_a_document_goes(chrome: str) -> None:
    assert without_chrome(f"<h1>Title</h1>{ARTICLE}{chrome}") == "Title ARTICLE"


@pytest.mark.parametrize(
    "content",
    [
        '<ol><li><a href="#a">First</a></li></ol>',
        '<p>See <a href="#a">below</a>.</p>',
        '<h2><a href="#a">Heading</a></h2>',
        '<ul><li><a href="/other">See also</a></li></ul>',
        '<div class="footnotes">1. A note.</div>',
        "<article><header>By Ann</header></article>",
        "<p>Only <a hreflang='de' href='/de'>one</a> language.</p>",
    ],
)
def test_what_belongs_to_a_document_stays(content: str) -> None:
    root = webpage.parse(content)
    assert root is not None
    assert without_chrome(f"<h1>Title</h1>{ARTICLE}{content}") == f"Title ARTICLE {words_of(root)}"


def test_links_above_the_title_go_and_text_stays() -> None:
    assert (
        without_chrome('<div><a href="/">Home</a> &gt; <a href="/d">Docs</a></div><h1>Title</h1>text') == "Title text"
    )
    assert without_chrome("<p>A motto for the page.</p><h1>Title</h1>text") == "A motto for the page. Title text"


def test_the_sign_of_a_permanent_link_goes() -> None:
    assert (
        without_chrome('<h1>Title</h1><h2>Part <a class="permalink" href="#part">¶</a></h2>text') == "Title Part text"
    )


def test_whatever_holds_the_title_or_half_the_text_stays() -> None:
    assert without_chrome(f'<div class="sidebar"><h1>Title</h1></div><div id="menu">{ARTICLE}</div>') == "Title ARTICLE"


@pytest.mark.parametrize(
    ("head", "body", "title"),
    [
        ("<title>Ports - Server Manual</title>", "<h1>Ports</h1>", "Ports"),
        ("<title>Reset it - Acme Help</title>", "<h1>Acme Help</h1>", "Reset it - Acme Help"),
        ("<title>Stated</title>", "<h1>A</h1><h1>B</h1>", "Stated"),
        ("<title> Stated\n once </title>", "<p>text</p>", "Stated once"),
        ("", "<h1>A</h1><h1>B</h1>", "A"),
        ("<title>Untitled</title>", "<h1>The name</h1>", "The name"),
        ("", "<p>text</p>", None),
    ],
)
def test_titles(head: str, body: str, title: str | None) -> None:
    root = webpage.parse(f"<html><head>{head}</head><body>{body}</body></html>")
    assert root is not None
    assert webpage.title_of(root) == title


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<details><summary>S</summary>D</details>", "<div><p>S</p>D</div>"),
        ('<p>a<img src="x" alt="the gear">b</p>', "<p>a the gear b</p>"),
        ('<p>a<img src="x" alt="shot.png">b<img src="y">c</p>', "<p>a b c</p>"),
        ("<h2><button>Question?</button></h2>", "<h2>Question?</h2>"),
        ('<div role="heading" aria-level="3">H</div>', '<h3 role="heading" aria-level="3">H</h3>'),
        ("<pre><span>a</span><br>  b\n</pre>", "<pre>a\n  b</pre>"),
        ("<pre><div>a</div><div>b</div></pre>", "<pre>a\nb</pre>"),
        ("<pre>1\n2\n3</pre>", ""),
        ("<p><code>a<br>\n&nbsp;b</code></p>", "<pre>a\n b</pre>"),
        ("<p>One.<br><br>Two.</p>", "<p>One.<p></p><br>Two.</p>"),
        ("<ol start=3><li>a<li><p>b</p></ol>", '<ol start="3"><li>3. a</li><li>4. b</li></ol>'),
        ("<ul><li>• a<li><pre>x</pre></ul>", "<ul><li>- a</li><li><pre>x</pre></li></ul>"),
        ("<dl><dt>T</dt><dd><p>D</p></dd></dl>", "<dl><dd>T: D</dd></dl>"),
        ("<table><tr><td>a<td>b</table>", "<table><tr><td>a</td><td>b</td></tr></table>"),
        ("<table><tr><td><h2>a</h2></table>", "<div><div><div><h2>a</h2></div></div></div>"),
        (
            "<table><tr><td><ul><li>a</li><li>b</li></ul></table>",
            "<div><div><div><ul><li>- a</li><li>- b</li></ul></div></div></div>",
        ),
    ],
)
def test_constructs_are_rewritten_and_keep_their_text(before: str, after: str) -> None:
    assert plain(before) == after


def test_paragraphs_made_of_line_breaks_do_not_make_a_table_a_layout() -> None:
    assert plain("<table><tr><td>a<br><br>b<br><br>c<td>d</table>").startswith("<table>")


def test_depth_is_measured_where_the_partitioner_stops() -> None:
    shallow, deep = (webpage.parse("<div>" * depth + "x") for depth in (150, 250))
    assert shallow is not None
    assert deep is not None
    assert not webpage.is_too_deep(shallow)
    assert webpage.is_too_deep(deep)


def test_a_flattened_page_keeps_text_order_and_kinds() -> None:
    page = "<div><h2>A &amp; B</h2>one<script>x()</script><ul><li>item <b>bold</b></ul><pre>c &lt;\n d</pre>two"
    assert webpage.flattened(page) == ("<h2>A &amp; B</h2><p>one</p><li>item bold</li><pre>c &lt;\n d</pre><p>two</p>")


@pytest.mark.parametrize("markup", ["", "  \n", '<?xml version="1.0" encoding="utf-8"?>'])
def test_nothing_is_no_tree(markup: str) -> None:
    assert webpage.parse(markup) is None


def test_an_xml_declaration_does_not_hinder() -> None:
    root = webpage.parse('<?xml version="1.0" encoding="latin-1"?>\n<html><body>é</body></html>')
    assert root is not None
    assert root.text_content().strip() == "é"
