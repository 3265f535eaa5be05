"""Sends requests as a caller, and holds what comes back against what that caller may see."""

import re
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import quote

import msgspec

from eval.isolation.callers import Caller
from eval.isolation.canaries import Canary
from eval.isolation.estate import Estate, Thing
from eval.isolation.ledger import Ledger
from eval.isolation.service import Ask, Reply

_FAULT: Final = 500
_REFUSED: Final = frozenset({401, 403})
_TOO_MANY: Final = 429
_INSIDES: Final = (b"Traceback", b"psycopg", b"litestar", b"SELECT ")
# What differs between two answers to one question: ids, moments, measurements, whether a cache was met.
_VOLATILE: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}"
    r"|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)|\d+\.\d+(?:e-?\d+)?|\"cache\":\"\w+\""
)
_OWN_HEADERS: Final = frozenset({"date", "content-length", "retry-after"})


class Judge:
    """Every request of the check goes through here, so that every answer is looked through for every canary."""

    def __init__(self, estate: Estate, ledger: Ledger) -> None:
        self.estate = estate
        self.ledger = ledger

    async def ask(self, door: str, name: str, caller: Caller, ask: Ask, *, patient: bool = True) -> Reply:
        """Send a request; what the caller may not see and did not say itself is a leak."""
        ask = _as(caller, ask)
        reply = await self.estate.service.send(ask, caller.key, patient=patient)
        self.weigh(door, name, caller, str(ask), said=ask.bytes, told=reply.bytes, outcome=str(reply.status))
        if reply.status == _FAULT or any(word in reply.body for word in _INSIDES):
            self.ledger.found(door, name, caller.name, f"{ask} breaks down ({reply.status})")
        return reply

    async def listen(self, door: str, name: str, caller: Caller, ask: Ask) -> Reply:
        """Open a stream of events, and look through what it says."""
        ask = _as(caller, ask)
        reply = await self.estate.service.listen(ask, caller.key)
        self.weigh(door, name, caller, str(ask), said=ask.bytes, told=reply.bytes, outcome=str(reply.status))
        return reply

    def weigh(
        self, door: str, name: str, caller: Caller, tried: str, *, said: bytes, told: bytes, outcome: str
    ) -> None:
        """Hold what a caller was told against what it may see."""
        self.ledger.tried(door, name, caller.name, tried, outcome)
        if leaked := self.leaked(caller, said=said, told=told):
            self.ledger.found(door, name, caller.name, f"{tried} shows what is not open to this caller", leaked)

    def leaked(self, caller: Caller, *, said: bytes, told: bytes) -> AbstractSet[Canary]:
        """The canaries that the caller was told, and may neither see nor had said itself."""
        seen = {canary for canary in self.estate.canaries.traces(told) if not caller.may_see(canary)}
        return seen - self.estate.canaries.traces(said) if seen else seen

    async def alike(
        self, door: str, name: str, caller: Caller, real: tuple[Ask, Thing], ghost: tuple[Ask, Thing]
    ) -> None:
        """Send a request for what is there and the same for what is not: the answers may differ in nothing."""
        replies = [await self.ask(door, name, caller, ask) for ask, _ in (real, ghost)]
        theirs, absent = (_masked(reply, thing) for reply, (_, thing) in zip(replies, (real, ghost), strict=True))
        if theirs != absent:
            difference = _difference(theirs, absent)
            self.ledger.found(
                door, name, caller.name, f"{real[0]} is answered unlike what does not exist: {difference}"
            )

    async def refused(self, door: str, name: str, caller: Caller, ask: Ask) -> None:
        """Send a request that has to be refused before anything is looked at.

        "Too many" is a refusal for whom no key is valid; another caller has to be told what it may not.
        """
        void = caller.kind == "void"
        reply = await self.ask(door, name, caller, ask, patient=not void)
        if reply.status not in (_REFUSED | {_TOO_MANY} if void else _REFUSED):
            self.ledger.found(door, name, caller.name, f"{ask} is not refused ({reply.status})")

    async def shows(self, door: str, name: str, caller: Caller, ask: Ask, thing: Thing) -> Reply:
        """Send a request whose answer must show a canary: if it does not, the other attempts prove nothing."""
        reply = await self.ask(door, name, caller, ask)
        own = {canary.word for canary in self.estate.canaries.traces(reply.bytes)} & set(thing.words())
        if reply.failed or not own:
            what = f"{ask} does not show its own canary to whom it is open ({reply.status}): nothing was proved"
            self.ledger.found(door, name, caller.name, what)
        return reply


def _as(caller: Caller, ask: Ask) -> Ask:
    return msgspec.structs.replace(ask, headers={**caller.headers, **ask.headers})


def _masked(reply: Reply, thing: Thing) -> tuple[int, list[str], str]:
    """A reply without what it was asked for and what differs from one moment to the next."""
    text = reply.body.decode(errors="replace")
    for word in thing.words():
        text = text.replace(quote(word, safe=""), "…").replace(word, "…")
    headers = sorted(name for name in reply.headers if name not in _OWN_HEADERS and not name.startswith("ratelimit"))
    return reply.status, headers, _VOLATILE.sub("…", text)


def _difference(theirs: tuple[int, list[str], str], absent: tuple[int, list[str], str]) -> str:
    if theirs[0] != absent[0]:
        return f"status {theirs[0]} and not {absent[0]}"
    if theirs[1] != absent[1]:
        return f"headers {sorted(set(theirs[1]) ^ set(absent[1]))}"
    return f"{theirs[2][:200]!r} and not {absent[2][:200]!r}"
