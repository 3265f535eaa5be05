"""What kind of document some bytes are, and the text they spell.

The bytes are believed first, then the declared type, then the file's name.
"""

import codecs
import re
import unicodedata
from pathlib import PurePath

import charset_normalizer

from rag.errors import UnreadableDocument

MARKDOWN, HTML, TEXT = "text/markdown", "text/html", "text/plain"
READABLE = (MARKDOWN, HTML, TEXT)

_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"%PDF-", "a PDF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"RIFF", "a media file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
)
_BY_SUFFIX = {
    "md": MARKDOWN,
    "markdown": MARKDOWN,
    "mdown": MARKDOWN,
    "mdx": MARKDOWN,
    "html": HTML,
    "htm": HTML,
    "xhtml": HTML,
    "txt": TEXT,
    "text": TEXT,
}
_BY_DECLARATION = {
    "text/markdown": MARKDOWN,
    "text/x-markdown": MARKDOWN,
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "text/plain": TEXT,
}
# Text by its bytes, but not prose: read as plain text these would fill the index with punctuation.
_NOT_PROSE = frozenset(
    (
        "csv tsv json jsonl ndjson xml svg rss atom eml mbox msg ics vcf rtf pdf doc docx odt xls xlsx "
        "ods ppt pptx odp epub zip gz tar 7z png jpg jpeg gif webp bmp tif tiff ico mp3 mp4 wav webm exe "
        "dll so"
    ).split()
)
_MARKUP_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*+-->\s*+)*+<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_XML_START = re.compile(r"\s*<\?xml\b")
_MARKDOWN_SIGNS = (
    re.compile(r"^#{1,6} \S", re.MULTILINE),
    re.compile(r"^(?:```|~~~)", re.MULTILINE),
    re.compile(r"\[[^\]\n]{1,200}\]\([^)\n]{1,500}\)"),
    re.compile(r"^\|.+\|\n\|[ :|-]+\|$", re.MULTILINE),
    re.compile(r"\*\*[^*\n]{1,200}\*\*"),
)
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Control characters say nothing, NUL cannot be stored; a soft hyphen or a zero-width space hides a word from search.
_NOISE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\ufeff\ufffe\uffff\ud800-\udfff]")
_HEAD = 65_536
_FEW_BYTES = 64
_UTF16_ZEROS = 0.4
_LINE_END = re.compile(r"\r\n?|[\x0c\x85\u2028\u2029]")
_EBCDIC = ["cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140"]
# Declarations that say no more than "some bytes" or "some text".
_UNDECIDED = frozenset(("", "application/octet-stream", "binary/octet-stream", "text/*", "text/asciidoc"))
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def sniff(data: bytes, *, declared: str | None, filename: str | None) -> str:
    """Tell the media type: `text/markdown`, `text/html` or `text/plain`.

    `declared` is a Content-Type and may carry a charset. Raises UnreadableDocument with the code
    `unsupported_format` for every other format, and `unknown_encoding` for text that cannot be decoded.
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            raise _unsupported(f"The file is {name}.")
    head = decode(data, declared=declared)[:_HEAD]
    if _MARKUP_START.match(head):
        return HTML
    if _XML_START.match(head):
        raise _unsupported("The file is XML.")
    return _declared_type(declared) or _named_type(filename) or _guessed_type(head)


def decode(data: bytes, *, declared: str | None = None) -> str:
    r"""Decode bytes to clean text: no control characters but tab and newline, `\n` line ends, NFC.

    Tried in turn: a byte order mark, UTF-16 by its zeros, UTF-8, the charset of the declared type, the one
    that the document states, a statistical guess. Raises UnreadableDocument when the bytes are no text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return clean(data.decode(encoding, "replace"))
    if (text := _utf16_by_zeros(data)) is not None:
        return clean(text)
    text = _decoded(data, "utf-8")
    if _control_share(data) > (0.1 if text is not None else 0.01):
        raise _unsupported("The file is binary.")
    return clean(text if text is not None else _decode_legacy(data, declared))


def clean(text: str) -> str:
    """Drop what cannot be read or stored, and normalise line ends and characters (NFC)."""
    text = _LINE_END.sub("\n", text)
    return unicodedata.normalize("NFC", _NOISE.sub("", text))


def _utf16_by_zeros(data: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of Western text is zero."""
    even, odd = data[0:_HEAD:2], data[1:_HEAD:2]
    if not odd:
        return None
    high, low = even.count(0) / len(even), odd.count(0) / len(odd)
    if max(high, low) < _UTF16_ZEROS or min(high, low) > 1 - _UTF16_ZEROS:
        return None
    text = data.decode("utf-16-le" if low > high else "utf-16-be", "replace")
    head = text[: _HEAD // 2]
    return text if len(head) - len(_NOISE.sub("", head)) < 0.01 * len(head) + 2 else None


def _control_share(data: bytes) -> float:
    head = data[:_HEAD]
    return (len(head) - len(head.translate(None, _CONTROL_BYTES))) / max(1, len(head))


def _decode_legacy(data: bytes, declared: str | None) -> str:
    for charset in (_charset((declared or "").encode()), _charset(data[:4096])):
        if charset and (text := _decoded(data, charset)) is not None:
            return text
    if (text := _broken_utf8(data)) is not None:
        return text
    for charset in (_guessed_charset(data), "cp1252"):
        if charset and (text := _decoded(data, charset)) is not None:
            return text
    raise UnreadableDocument(
        "The character encoding of the file could not be told.",
        code="unknown_encoding",
        hint="Save it as UTF-8, or state its charset in the Content-Type.",
    )


def _guessed_charset(data: bytes) -> str | None:
    """Guess by the statistics of the bytes; a few words are too little for that."""
    if len(data) < _FEW_BYTES:
        return None
    guess = charset_normalizer.from_bytes(data[:_HEAD], cp_exclusion=_EBCDIC).best()
    return guess.encoding if guess else None


def _broken_utf8(data: bytes) -> str | None:
    """UTF-8 with a few damaged bytes: most of what is not ASCII must still decode."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(character > "\x7f" for character in text) - bad
    return text.replace("\ufffd", "") if good > 4 * bad else None


def _decoded(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except (UnicodeError, LookupError):
        return None


def _charset(stated: bytes) -> str | None:
    """Find the charset that a Content-Type or a document's own head states."""
    if not (match := _CHARSET.search(stated)):
        return None
    name = match[1].decode("ascii", "ignore").lower()
    if name.startswith(("utf-16", "utf-32")):
        return None  # such a text could not have stated it in ASCII
    # What calls itself Latin-1 or ASCII on the web is Windows-1252 (WHATWG Encoding Standard).
    return "cp1252" if name in {"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"} else name


def _declared_type(declared: str | None) -> str | None:
    essence = (declared or "").partition(";")[0].strip().lower()
    if essence in _BY_DECLARATION:
        return _BY_DECLARATION[essence]
    if essence in _UNDECIDED or essence.startswith("text/x-"):
        return None
    raise _unsupported(f"The declared type is {essence}.")


def _named_type(filename: str | None) -> str | None:
    """Read the type off the suffixes, last first, so that `page.html.en.utf8` is HTML."""
    for suffix in reversed(PurePath(filename or "").suffixes):
        name = suffix[1:].lower()
        if name in _NOT_PROSE:
            raise _unsupported(f"The file's name ends in .{name}.")
        if name in _BY_SUFFIX:
            return _BY_SUFFIX[name]
    return None


def _guessed_type(text: str) -> str:
    signs = sum(bool(sign.search(text)) for sign in _MARKDOWN_SIGNS)
    return MARKDOWN if signs > 1 else TEXT


def _unsupported(message: str) -> UnreadableDocument:
    return UnreadableDocument(
        message, code="unsupported_format", hint="Markdown, HTML and plain text are read: convert it to one of them."
    )
