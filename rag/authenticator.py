"""From a bearer credential to a principal, remembered for as long as a revocation may take to bite.

key           clo_…                 -> its digest             -> the database
widget token  JWT that names a key  -> that key's secret      -> the key's principal, narrowed
person        JWT with an issuer    -> the issuer's own keys  -> the tenant it names
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from rag.errors import Unauthenticated
from rag.issuers import Issuer
from rag.jwt import Hint, key_of_secret, peek, verify
from rag.keys import digest_key
from rag.origins import is_origin
from rag.remembered import Remembered
from rag.store.database import Database
from rag.store.keys import WidgetKey, authenticate, authenticate_widget, note_use, origin_listed, resolve_tenant
from rag.telemetry import log
from rag.tenancy import Operator, Principal
from rag.widgets import REQUIRED, narrowed

_REMEMBERED: Final = 10_000
_REMEMBERED_TOKENS: Final = 2_000  # each may hold a filter
_TRUST_SECONDS: Final = 5.0  # a revoked key is refused after this long at the latest
_DISTRUST_SECONDS: Final = 2.0
_NOTED_SECONDS: Final = 60.0


class Authenticator:
    """Verifies keys and tokens; a key asks the database once in 5 seconds, and so does all that hangs on it."""

    def __init__(self, database: Database, issuers: Mapping[str, Issuer] | None = None) -> None:
        self._database = database
        self._issuers = issuers or {}
        self._known: Remembered[bytes, Principal | Operator] = Remembered(_REMEMBERED)
        # Apart, so that a flood of invented keys drives no real one out.
        self._refused: Remembered[bytes, None] = Remembered(_REMEMBERED)
        self._tokens: Remembered[bytes, Principal] = Remembered(_REMEMBERED_TOKENS)
        self._widget_keys: Remembered[UUID, WidgetKey] = Remembered(_REMEMBERED)
        self._refused_widget_keys: Remembered[UUID, None] = Remembered(_REMEMBERED)
        self._noted: Remembered[UUID, None] = Remembered(_REMEMBERED)
        self._origins: Remembered[str, bool] = Remembered(_REMEMBERED)

    def knows(self, credential: str) -> bool:
        """Whether it was valid when it was last looked up here; nothing is asked, and it may have ended since."""
        if "." in credential:
            return _token_digest(credential) in self._tokens
        digest = digest_key(credential)
        return digest is not None and digest in self._known

    async def identify(self, credential: str) -> Principal | Operator:
        """Whom a key or a token stands for; raises `Unauthenticated`.

        Of a key the words are the same whatever is wrong with it; of a token too, until its signature is good.
        """
        if "." in credential:
            return await self._of_token(credential)
        digest = digest_key(credential)
        who = await self._of_key(digest) if digest else None
        if who is None:
            raise Unauthenticated("the key is not valid")
        return who

    async def lists_origin(self, origin: str) -> bool:
        """Whether any live publishable key lists a browser origin: what a preflight, which has no key, is told."""
        if not is_origin(origin):
            return False
        if found := self._origins.get(origin):
            return found[1]
        until = time.monotonic() + _TRUST_SECONDS
        async with self._database.control() as connection:
            listed = await origin_listed(connection, origin)
        self._origins.keep(origin, listed, until)
        return listed

    async def _of_key(self, digest: bytes) -> Principal | Operator | None:
        if found := self._known.get(digest):
            return found[1]
        if self._refused.get(digest):
            return None
        now = time.monotonic()
        async with self._database.control() as connection:
            who = await authenticate(connection, digest)
        if who is None:
            self._known.forget(digest)
            self._refused.keep(digest, None, now + _DISTRUST_SECONDS)
        else:
            self._known.keep(digest, who, now + _TRUST_SECONDS)
        return who

    async def _of_token(self, token: str) -> Principal:
        digest = _token_digest(token)
        if found := self._tokens.get(digest):
            return found[1]
        try:
            hint = peek(token)
            if hint.issuer is None:
                who, until = await self._of_widget(token, hint)
            else:
                who, until = await self._of_person(token, hint, hint.issuer)
        except Unauthenticated as refusal:
            self._tokens.forget(digest)
            log.info("token_refused", reason=type(refusal.__cause__).__name__ if refusal.__cause__ else refusal.message)
            raise
        self._tokens.keep(digest, who, until)
        return who

    async def _of_person(self, token: str, hint: Hint, name: str) -> tuple[Principal, float]:
        issuer = self._issuers.get(name)
        if issuer is None:
            raise Unauthenticated("the token is not valid")
        person = await issuer.verify(token, hint)
        now = time.monotonic()
        async with self._database.control() as connection:
            tenant = await resolve_tenant(connection, person.tenant)
        if tenant is None:
            raise Unauthenticated("the token is not valid")
        who = Principal(
            tenant=tenant,
            slug=person.tenant,
            key_id=uuid5(NAMESPACE_URL, issuer.name),
            kind="token",
            scopes=person.scopes,
            groups=person.groups,
            user=person.subject,
        )
        return who, min(now + _TRUST_SECONDS, _monotonic(person.expires))

    async def _of_widget(self, token: str, hint: Hint) -> tuple[Principal, float]:
        key_id = _key_id(hint)
        key, until = await self._widget_key(key_id)
        claims = verify(token, key_of_secret(key.secret.reveal(), hint.kid), required=REQUIRED)
        who, expires = narrowed(key.principal, claims)
        await self._note(who)
        return who, min(until, _monotonic(expires))

    async def _note(self, who: Principal) -> None:
        if self._noted.get(who.key_id):
            return
        async with self._database.tenant(who.tenant) as connection:
            await note_use(connection, who.tenant, who.key_id)
        self._noted.keep(who.key_id, None, time.monotonic() + _NOTED_SECONDS)

    async def _widget_key(self, key_id: UUID) -> tuple[WidgetKey, float]:
        if found := self._widget_keys.get(key_id):
            return found[1], found[0]
        if self._refused_widget_keys.get(key_id):
            raise Unauthenticated("the token is not valid")
        now = time.monotonic()
        async with self._database.control() as connection:
            key = await authenticate_widget(connection, key_id)
        if key is None:
            self._refused_widget_keys.keep(key_id, None, now + _DISTRUST_SECONDS)
            raise Unauthenticated("the token is not valid")
        self._widget_keys.keep(key_id, key, now + _TRUST_SECONDS)
        return key, now + _TRUST_SECONDS


def _token_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _key_id(hint: Hint) -> UUID:
    try:
        return UUID(hint.kid or "")
    except ValueError as error:
        raise Unauthenticated("the token is not valid") from error


def _monotonic(expires: float) -> float:
    return time.monotonic() + expires - time.time()
