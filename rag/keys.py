"""API keys: made, checked for typing errors, and digested; never stored and never logged.

A key is `clo_sk_` (secret), `clo_pk_` (publishable) or `clo_op_` (operator), 43 characters that carry 256 random bits,
and 6 characters of checksum, so that a mistyped key is refused without asking the database and secret scanners can
recognise a leaked one.
"""

import base64
import hashlib
import re
import secrets
import zlib
from typing import Final, Literal

KeyKind = Literal["secret", "publishable", "operator"]

_PREFIX: Final[dict[KeyKind, str]] = {"secret": "clo_sk_", "publishable": "clo_pk_", "operator": "clo_op_"}
_SHAPE: Final = re.compile(r"clo_(?:sk|pk|op)_[A-Za-z0-9_-]{49}")


def generate_key(kind: KeyKind) -> str:
    """A new key of 256 random bits."""
    body = _PREFIX[kind] + secrets.token_urlsafe(32)
    return body + _checksum(body)


def generate_signing_secret() -> str:
    """What the widget tokens of a publishable key are signed with: its own bytes are the HMAC key."""
    return "clo_ws_" + secrets.token_urlsafe(32)


def digest_key(key: str) -> bytes | None:
    """The SHA-256 that stands for a key in the database; None for a string that cannot be a key.

    A plain digest is enough: 256 random bits leave nothing to guess.
    """
    if not _SHAPE.fullmatch(key) or _checksum(key[:-6]) != key[-6:]:
        return None
    return hashlib.sha256(key.encode("ascii")).digest()


def display_key(key: str) -> str:
    """What may be shown of a key ever after: its kind and first six characters."""
    return key[:13] + "…"


def _checksum(body: str) -> str:
    crc = zlib.crc32(body.encode("ascii"))
    return base64.urlsafe_b64encode(crc.to_bytes(4, "big")).decode("ascii").rstrip("=")
