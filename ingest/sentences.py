"""Where the sentences of a text begin and end, by rules: no model, no training, linear time."""

import re

# A line of its own ends a sentence: list items, rows, addresses.
_LINE = re.compile(r"[^\n\r\u2028\u2029]+")
_MARKER = re.compile(r"\s*(?:[-*+•◦▪‣·–—]|\(?\d{1,4}[.)]|\(?[a-zA-Z]\)|[a-z]\.)\s+(?=\S)")
_CLOSING = "\"'”’»›)\\]}」』】）*_"
_CANDIDATE = re.compile(
    rf"(?P<wide>[。！？｡]+[{_CLOSING}]*)"
    rf"|(?<![.!?…؟۔।॥])(?P<mark>[.!?…؟۔।॥]++)[{_CLOSING}]*+(?=\s)"
)
_WORD_BEFORE = re.compile(r"[^\s(\[{\"'“‘«]*$")
_LONGEST_ORDINAL = 3
_OPENING = "\"'“‘«‹([{¿¡*_"

# Never the end of a sentence: something follows that they belong to.
_NEVER_LAST = frozenset(
    (
        "mr mrs ms mx dr prof rev hon sr st mt gen col capt lt sgt maj cmdr adm gov sen rep pres vs cf "
        "viz e.g eg i.e ie ca approx incl excl resp dept univ z.b d.h u.a bzw bspw vgl p.ex par.ex núm "
        "num nr"
    ).split()
)
# The end only when what follows opens a sentence.
_SOMETIMES_LAST = frozenset(
    (
        "etc al inc ltd co corp llc plc jr sr bros est min max avg temp tel ext no nos op ver rev jan feb "
        "mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun fig figs eq "
        "eqs sec secs ch chs vol vols ed eds p pp pg art arts para paras a.m p.m u.s u.k u.n e.u d.c ph.d "
        "m.d b.a m.a usw"
    ).split()
)
_OPENERS = frozenset(
    (
        "the a an this that these those it its he she they we you i in on at for from with if when while "
        "after before as by to but and or so however there here what which who how why where then once "
        "make see use click select open note please do don't not no your our their my"
    ).split()
)
_INITIAL = re.compile(r"[^\W\d_]\.?")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_IDENTIFIER = re.compile(r"[\w-]*(?:[_./\\:][\w-]|\d|[a-z][A-Z])")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Find the sentences as `(start, end)` offsets: in order, apart, without the blanks around them.

    A newline ends a sentence, and a list item's marker is left outside. Every other character that is not blank
    lies in exactly one span.
    """
    spans: list[tuple[int, int]] = []
    for line in _LINE.finditer(text):
        marker = _MARKER.match(text, line.start(), line.end())
        start = marker.end() if marker else line.start()
        for end in _ends(text, start, line.end()):
            spans.extend(_trimmed(text, start, end))
            start = end
    return spans


def _ends(text: str, start: int, stop: int) -> list[int]:
    first = start
    ends = []
    for candidate in _CANDIDATE.finditer(text, start, stop):
        if candidate["wide"] or _is_end(text, first, candidate, stop):
            ends.append(candidate.end())
            first = candidate.end()
    return [*ends, stop] if not ends or ends[-1] < stop else ends


def _is_end(text: str, start: int, candidate: re.Match[str], stop: int) -> bool:
    following = text[candidate.end() : min(stop, candidate.end() + 80)].lstrip()
    bare = following.lstrip(_OPENING)
    if not bare:
        return True
    mark = candidate["mark"]
    if mark != ".":
        return not bare[0].islower() or _is_identifier(bare)
    window = text[max(start, candidate.start() - 40) : candidate.start()]
    found = _WORD_BEFORE.search(window)
    word = (found[0] if found else "").lower()
    if word in _NEVER_LAST:
        return False
    if _belongs_on(word, start == candidate.start() - len(word)):
        return _opens_sentence(bare)
    return not bare[0].islower() or _is_identifier(bare)


def _belongs_on(word: str, is_first: bool) -> bool:
    """Whether a full stop after this word is more likely part of the word."""
    if word in _SOMETIMES_LAST or _DOTTED.fullmatch(word):
        return True
    return bool(_INITIAL.fullmatch(word)) or (is_first and word.isdigit() and len(word) <= _LONGEST_ORDINAL)


def _opens_sentence(following: str) -> bool:
    first = following.split(maxsplit=1)[0]
    return first[0].isupper() and first.lower().rstrip(",:;") in _OPENERS


def _is_identifier(following: str) -> bool:
    """Whether a lower-case opening is a name, `httpd.conf` or `mod_ssl`, rather than the middle of a sentence."""
    return bool(_IDENTIFIER.match(following.split(maxsplit=1)[0].rstrip(".,:;!?")))


def _trimmed(text: str, start: int, end: int) -> list[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return [(start, end)] if start < end else []
