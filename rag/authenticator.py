"""From a bearer token to a principal, remembered for as long as a revocation may take to bite."""

import time
from collections import OrderedDict
from typing import Final

from rag.errors import Unauthenticated
from rag.keys import digest_key
from rag.store.database import Database
from rag.store.keys import authenticate
from rag.tenancy import Operator, Principal

_REMEMBERED: Final = 10_000
_TRUST_SECONDS: Final = 5.0  # a revoked key is refused after this long at the latest
_DISTRUST_SECONDS: Final = 2.0


class Authenticator:
    """Verifies API keys against their digests; one database round trip a key and 5 seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[bytes, tuple[float, Principal | Operator | None]] = OrderedDict()
        # Apart, so that a flood of invented keys drives no real one out.
        self._refused: OrderedDict[bytes, tuple[float, Principal | Operator | None]] = OrderedDict()

    def knows(self, key: str) -> bool:
        """Whether the key was valid when it was last looked up here; nothing is asked, and it may have ended since."""
        return digest_key(key) in self._known

    async def identify(self, key: str) -> Principal | Operator:
        """Whom a key stands for; raises `Unauthenticated` in the same words whatever is wrong with it."""
        digest = digest_key(key)
        who = await self._look_up(digest) if digest else None
        if who is None:
            raise Unauthenticated("the key is not valid")
        return who

    async def _look_up(self, digest: bytes) -> Principal | Operator | None:
        until, who = self._known.get(digest) or self._refused.get(digest) or (0.0, None)
        now = time.monotonic()
        if now < until:
            return who
        async with self._database.control() as connection:
            who = await authenticate(connection, digest)
        self._known.pop(digest, None)
        remembered = self._known if who else self._refused
        remembered[digest] = (now + (_TRUST_SECONDS if who else _DISTRUST_SECONDS), who)
        remembered.move_to_end(digest)
        if len(remembered) > _REMEMBERED:
            remembered.popitem(last=False)
        return who
