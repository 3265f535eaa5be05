"""The identity providers whose tokens are taken: who they are, what they may speak for, and their keys.

A file in TOML says it all, one `[[issuers]]` each; docs/keys.md describes it.
"""

import asyncio
import time
import tomllib
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from rag.domain import Scope
from rag.errors import SetupError, Unauthenticated, Unavailable
from rag.jwt import Algorithm, Hint, VerificationKey, key_of_pem, key_of_secret, keys_of_jwks, verify
from rag.telemetry import log
from rag.tenancy import ALL_GROUPS

_REQUIRED: Final = ("exp", "iat", "iss", "aud", "sub", "tenant")
_REFRESH_S: Final = 600.0  # keys are read again when they are older
_STALE_S: Final = 3600.0  # and are worth nothing when they could not be read for so long
_COOL_DOWN_S: Final = 30.0  # between two attempts, however many tokens name a key that is not there
_FETCH_S: Final = 5.0
_MOST_BYTES: Final = 262_144
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Group = Annotated[str, Meta(min_length=1, max_length=128)]


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a verified token stands for, in which tenant, and until when (seconds since 1970)."""

    subject: str
    tenant: str
    scopes: frozenset[str]
    groups: tuple[str, ...]
    expires: float


class KeyEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One key in the file: a public one as PEM, there or in a file of its own, or a shared secret in a file."""

    kid: Text | None = None
    pem: Text | None = None
    pem_file: Text | None = None
    secret_file: Text | None = None


class IssuerEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One identity provider in the file."""

    issuer: Text
    audience: Text | Annotated[list[Text], Meta(min_length=1)]
    algorithms: Annotated[list[Algorithm], Meta(min_length=1)]
    tenants: Annotated[list[Text], Meta(min_length=1)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    all_groups: bool = False
    keys: list[KeyEntry] = []
    jwks_file: Text | None = None
    jwks_url: Text | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    issuers: list[IssuerEntry]


class _Claims(msgspec.Struct):
    sub: Annotated[str, Meta(min_length=1, max_length=256)]
    tenant: Text
    exp: float
    scope: str | list[str] | None = None
    groups: Annotated[list[Group], Meta(max_length=64)] = []


class KeyRing:
    """An issuer's keys, read again when they are old or when a token names one that is not among them."""

    def __init__(self, read: Callable[[], list[VerificationKey]], *, name: str) -> None:
        self._read = read
        self._name = name
        self._keys: list[VerificationKey] = []
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Read the keys now; raises `SetupError`."""
        self._keys, self._read_at = self._read(), time.monotonic()

    async def find(self, kid: str | None) -> VerificationKey | None:
        """The key of that id, or for None the only one there is; raises `Unavailable` while none can be had."""
        found = self._held(kid)
        if found is None:
            await self._renew()
            found = self._held(kid)
        elif time.monotonic() - self._read_at > _REFRESH_S:
            self._begin()  # nobody waits for it: what is held is good for a while
        if found is None and time.monotonic() - self._read_at > _STALE_S:
            raise Unavailable("the identity provider's keys cannot be read", retry_after=_COOL_DOWN_S)
        return found

    def _held(self, kid: str | None) -> VerificationKey | None:
        if time.monotonic() - self._read_at > _STALE_S:
            return None
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.kid == kid), None)

    async def _renew(self) -> None:
        if task := self._begin():
            await asyncio.shield(task)

    def _begin(self) -> "asyncio.Task[None] | None":
        if self._reading is None and time.monotonic() - self._tried_at > _COOL_DOWN_S:
            self._tried_at = time.monotonic()
            self._reading = asyncio.create_task(self._read_again())
        return self._reading

    async def _read_again(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_S):
                self._keys = await asyncio.to_thread(self._read)
            self._read_at = time.monotonic()
        except (SetupError, TimeoutError) as error:
            log.warning("jwks_not_read", issuer=self._name, reason=str(error) or "it did not answer in time")
        finally:
            self._reading = None


class Issuer:
    """One identity provider: verifies its tokens, and lets them say no more than it may."""

    def __init__(self, entry: IssuerEntry, ring: KeyRing) -> None:
        self.name = entry.issuer
        self._entry = entry
        self._ring = ring

    async def verify(self, token: str, hint: Hint) -> Person:
        """The person that a token stands for; raises `Unauthenticated`, and `Unavailable` without keys."""
        key = await self._ring.find(hint.kid)
        if key is None:
            raise Unauthenticated("the token is not valid")
        claims = verify(token, key, required=_REQUIRED, issuer=self.name, audience=self._entry.audience)
        try:
            known = msgspec.convert(claims, _Claims)
        except msgspec.ValidationError as error:
            raise Unauthenticated("the token is not valid") from error
        if known.tenant not in self._entry.tenants or (ALL_GROUPS in known.groups and not self._entry.all_groups):
            raise Unauthenticated("the token is not valid")
        return Person(
            subject=known.sub,
            tenant=known.tenant,
            scopes=_scopes(self._entry.scopes, known.scope),
            groups=tuple(sorted(set(known.groups))),
            expires=known.exp,
        )


def load_issuers(path: Path | None) -> Mapping[str, Issuer]:
    """The issuers of a file by name, none for None; raises `SetupError` for whatever is wrong in it.

    Keys in the file and in files beside it are read now; a URL is first read when a token asks for it.
    """
    if path is None:
        return {}
    entries = _parsed(path).issuers
    found = {entry.issuer: _opened(entry, path) for entry in entries}
    if len(found) != len(entries):
        raise SetupError(f"{path}: an issuer stands in it twice")
    return found


def _parsed(path: Path) -> _File:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise SetupError(f"{path}: {error}") from error


def _opened(entry: IssuerEntry, path: Path) -> Issuer:
    ring = KeyRing(_checked(_reader(entry, path), entry), name=entry.issuer)
    if entry.jwks_url is None:
        try:
            ring.open()
        except SetupError as error:
            raise SetupError(f"{path}: issuer {entry.issuer}: {error.message}") from error
    return Issuer(entry, ring)


def _reader(entry: IssuerEntry, path: Path) -> Callable[[], list[VerificationKey]]:
    given: list[Literal["keys", "jwks_file", "jwks_url"]] = ["keys", "jwks_file", "jwks_url"]
    if sum(1 for name in given if getattr(entry, name)) != 1:
        raise SetupError(f"{path}: issuer {entry.issuer}: give one of keys, jwks_file and jwks_url")
    if entry.jwks_url is not None:
        url = _fetchable(entry.jwks_url)
        return lambda: keys_of_jwks(_fetched(url), secrets=False)
    if entry.jwks_file is not None:
        file = path.parent / entry.jwks_file
        return lambda: keys_of_jwks(_content(file), secrets=True)
    return lambda: [_key(key, path.parent) for key in entry.keys]


def _checked(read: Callable[[], list[VerificationKey]], entry: IssuerEntry) -> Callable[[], list[VerificationKey]]:
    def checked() -> list[VerificationKey]:
        keys = [key for key in read() if key.algorithm in entry.algorithms]
        if not keys:
            raise SetupError(f"there is no key for {', '.join(entry.algorithms)}")
        named = [key.kid for key in keys]
        if len(set(named)) != len(named):
            raise SetupError("two keys have the same kid")
        return keys

    return checked


def _key(entry: KeyEntry, folder: Path) -> VerificationKey:
    if sum(1 for given in (entry.pem, entry.pem_file, entry.secret_file) if given) != 1:
        raise SetupError("give one of pem, pem_file and secret_file for a key")
    if entry.secret_file is not None:
        return key_of_secret(_content(folder / entry.secret_file).strip(), entry.kid)
    pem = entry.pem or _content(folder / str(entry.pem_file)).decode("utf-8", "replace")
    return key_of_pem(pem, entry.kid)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SetupError(f"cannot read {file}: {error.strerror}") from error
    return _bounded(raw)


def _fetchable(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return url
    raise SetupError(f"jwks_url {url}: keys are taken over https, or from this machine")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse: the file names who is trusted, not whom he sends us to."""


def _fetched(url: str) -> bytes:
    deadline = time.monotonic() + _FETCH_S
    raw = b""
    try:
        with urllib.request.build_opener(_NoRedirects).open(url, timeout=_FETCH_S) as answer:
            while len(raw) <= _MOST_BYTES and (part := answer.read1(65_536)):
                raw += part
                if time.monotonic() > deadline:
                    raise SetupError(f"{url} did not answer in time")
    except (OSError, HTTPException, ValueError) as error:
        raise SetupError(f"cannot read {url}: {error}") from error
    return _bounded(raw)


def _bounded(raw: bytes) -> bytes:
    if len(raw) > _MOST_BYTES:
        raise SetupError(f"keys take at most {_MOST_BYTES} bytes")
    return raw


def _scopes(granted: Sequence[Scope], asked: str | list[str] | None) -> frozenset[str]:
    most = frozenset(scope.value for scope in granted)
    if asked is None:
        return most
    return most & frozenset(asked.split() if isinstance(asked, str) else asked)
