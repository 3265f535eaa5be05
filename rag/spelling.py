"""One spelling for what is written in several ways, so that a query and a document agree on it."""

import re
import unicodedata
from typing import Final

_MARKS: Final = re.compile("[™®©℠]")  # NFKC would write them as letters of the word before
_DASHES: Final = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_QUOTES: Final = re.compile("[\u2018\u2019\u201b\u02bc\uff07]")


def one_spelling(text: str) -> str:
    """The text in compatibility forms (NFKC), with plain hyphens and apostrophes, and without what nobody sees.

    A soft hyphen or a zero-width space inside a word is no part of it. Case and accents stay: the lexemes fold them,
    and the encoder may want them.
    """
    compatible = unicodedata.normalize("NFKC", _MARKS.sub(" ", text))
    seen = "".join(character for character in compatible if unicodedata.category(character) != "Cf")
    return _QUOTES.sub("'", _DASHES.sub("-", seen))
