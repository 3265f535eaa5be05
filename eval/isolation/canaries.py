"""Canaries: words that nobody can guess, who may see them, and their traces in what comes back."""

import base64
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import quote
from uuid import UUID

import msgspec

# `passage`: read by those whose groups open the document. `record`: by them, and by keys that ingest or manage.
# `handle`: as a record, and by operators, whose audit trail names documents and jobs by their ids.
# `name`: by every key of the tenant, and by operators. `key`: by operators, and by keys that manage.
Kind = Literal["passage", "record", "handle", "name", "key"]

_LETTERS: Final = "bcdfghjkmnpqrtvwxz"
_LENGTH: Final = 16  # 66 random bits; short enough to stay one lexeme


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A word that was planted; without groups every reader of the tenant may see it, once `gone` nobody may.

    An `unsaid` one is in no request at all: what lies under somebody's name can hold it only if it was shown to them.
    """

    word: str
    what: str
    kind: Kind
    tenant: str
    groups: frozenset[str] = frozenset()
    gone: bool = False
    unsaid: bool = False


class Canaries:
    """The words that were planted, by word; planting one again changes who may see it."""

    def __init__(self) -> None:
        self._planted: dict[str, Canary] = {}

    def plant(self, canaries: Iterable[Canary]) -> None:
        """Take these words under watch."""
        self._planted.update((canary.word, canary) for canary in canaries)

    def traces(self, payload: bytes) -> set[Canary]:
        """The canaries that stand in a payload: plain in any case, or in base64, hex, or percent or JSON escapes."""
        lowered = payload.lower()
        return {
            canary
            for word, canary in self._planted.items()
            if any(form in lowered for form in _plain_forms(word))
            or any(form in payload for form in _coded_forms(word))
        }


def new_word() -> str:
    """A word of 66 random bits that no dictionary, stemmer or tokenizer breaks up."""
    return "zq" + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


@lru_cache(maxsize=4096)
def _plain_forms(word: str) -> tuple[bytes, ...]:
    """What stands in lower case whatever wrote it."""
    raw = word.encode()
    escapes = "".join(f"\\u{ord(letter):04x}" for letter in word)
    percent = "".join(f"%{byte:02x}" for byte in raw)
    forms = {raw, quote(word, safe="").lower().encode(), raw.hex().encode(), escapes.encode(), percent.encode()}
    if _is_uuid(word):
        forms.add(UUID(word).hex.encode())
    return tuple(forms)


@lru_cache(maxsize=4096)
def _coded_forms(word: str) -> tuple[bytes, ...]:
    """The word inside longer base64, wherever in a group of three bytes it begins; both alphabets."""
    cores = []
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + word.encode())
        bits = 8 * (shift + len(word.encode()))
        cores.append(coded[-(-8 * shift // 6) : bits // 6])
    return tuple({core.translate(bytes.maketrans(b"+/", to)) for core in cores for to in (b"+/", b"-_")})


def _is_uuid(word: str) -> bool:
    try:
        return str(UUID(word)) == word
    except ValueError:
        return False
