import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sniff import clean, decode, sniff
from rag.errors import UnreadableDocument

MARKDOWN, HTML, TEXT = "text/markdown", "text/html", "text/plain"


def type_of(data: bytes, declared: str | None = None, filename: str | None = None) -> str:
    return sniff(data, declared=declared, filename=filename)


@pytest.mark.parametrize(
    ("filename", "media_type"),
    [
        ("a.md", MARKDOWN),
        ("A.MARKDOWN", MARKDOWN),
        ("bind.html.en.utf8", HTML),
        ("page.htm", HTML),
        ("notes.txt", TEXT),
        ("readme", TEXT),
        ("dir.html/notes.txt", TEXT),
        ("guide.rst", TEXT),
    ],
)
def test_the_name_decides_when_the_bytes_do_not(filename: str, media_type: str) -> None:
    assert type_of(b"Some words.", filename=filename) == media_type


def test_the_bytes_are_believed_before_the_declaration_and_that_before_the_name() -> None:
    assert type_of(b"<!DOCTYPE html><p>x", declared="text/plain", filename="a.md") == HTML
    assert type_of(b"Some words.", declared="text/markdown; charset=utf-8", filename="a.txt") == MARKDOWN


@pytest.mark.parametrize(
    "head",
    [
        b"<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN'>",
        b"\xef\xbb\xbf  <HTML lang=en>",
        b"<!-- generated --><html>",
        "<html><body>x".encode("utf-16"),
    ],
)
def test_a_page_is_known_by_its_first_tag(head: bytes) -> None:
    assert type_of(head) == HTML


def test_markdown_that_opens_with_a_tag_stays_markdown() -> None:
    assert type_of(b'<div align="center">\n\n# Name\n', filename="README.md") == MARKDOWN


def test_undeclared_text_is_markdown_by_two_signs_of_it() -> None:
    assert type_of(b"# Title\n\nSee [this](https://x.org).\n") == MARKDOWN
    assert type_of(b"# a comment\nkey = value\n") == TEXT


@pytest.mark.parametrize(
    ("data", "declared", "filename"),
    [
        (b"PK\x03\x04\x14\x00", None, "report.md"),
        (b"%PDF-1.7\n", "text/plain", None),
        (b"\x89PNG\r\n\x1a\n", None, None),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, None),
        (b"<?xml version='1.0'?><page/>", None, None),
        (b"a,b\n1,2\n", None, "prices.csv"),
        (b"a,b\n1,2\n", "text/csv", None),
        (b"{}", "application/json", None),
        (bytes(range(256)) * 8, None, "binary.md"),
        (b"\x00\x01\x02\x03" * 100, "text/markdown", "binary.md"),
    ],
)
def test_other_formats_are_refused_with_a_reason(data: bytes, declared: str | None, filename: str | None) -> None:
    with pytest.raises(UnreadableDocument) as refusal:
        type_of(data, declared, filename)
    assert refusal.value.reason == "unsupported_format"
    assert refusal.value.hint
    assert not refusal.value.transient


def test_many_comments_at_the_top_take_linear_time() -> None:
    assert type_of(b"<!-- a -->" * 6000 + b"\n# Title\n\n**b**\n") == MARKDOWN


def test_an_empty_file_is_text() -> None:
    assert type_of(b"") == TEXT


WORDS = "Käse, Brötchen & Überraschung für alle"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_common_encodings_are_decoded(encoding: str) -> None:
    assert decode(WORDS.encode(encoding)) == WORDS


def test_big_endian_marks_are_honoured() -> None:
    assert decode(codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be")) == WORDS
    assert decode(codecs.BOM_UTF32_BE + WORDS.encode("utf-32-be")) == WORDS


@pytest.mark.parametrize(
    "statement", ['<meta charset="koi8-r">', "<meta content='text/html; charset=KOI8-R'>", "<?xml encoding='koi8-r'?>"]
)
def test_a_charset_stated_in_the_document_is_used(statement: str) -> None:
    text = statement + "Привет, мир"
    assert decode(text.encode("koi8-r")) == text


def test_latin_1_on_the_web_is_windows_1252() -> None:
    assert decode("“€”".encode("cp1252"), declared="text/html; charset=iso-8859-1") == "“€”"


def test_an_unknown_charset_is_passed_over() -> None:
    assert decode("für".encode("cp1252"), declared="text/html; charset=no-such-thing") == "für"
    assert decode("für".encode("cp1252"), declared="text/html; charset=idna") == "für"
    assert decode("füür".encode("cp1252"), declared="text/html; charset=utf-16") == "füür"


def test_a_damaged_byte_does_not_turn_utf_8_into_something_else() -> None:
    assert decode(("日本語の文章です。" * 5).encode() + b"\xff") == "日本語の文章です。" * 5


def test_line_ends_and_characters_are_normalised() -> None:
    assert clean("a\r\nb\rc\x0cd\u2028e") == "a\nb\nc\nd\ne"
    assert clean("e\u0301") == "\u00e9"


@given(st.text())
def test_clean_text_can_be_stored_and_is_stable(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    cleaned.encode()
    assert clean(cleaned) == cleaned


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_are_refused(data: bytes) -> None:
    try:
        assert type_of(data) in {MARKDOWN, HTML, TEXT}
    except UnreadableDocument as refusal:
        assert refusal.reason in {"unsupported_format", "unknown_encoding"}  # noqa: PT017 - both outcomes are right
