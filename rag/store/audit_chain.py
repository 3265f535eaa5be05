"""What a verifier makes of a chain: each event is hashed anew, and each fault is named by the event it is at."""

import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from rag.audit import CONTROL, Recorded, chain_name
from rag.domain import TenantId
from rag.errors import InvalidInput
from rag.store.audit import Head, list_heads, read_chain, read_head
from rag.store.database import Database

_ZERO: Final = bytes(32)
_ANCHOR: Final = re.compile(r"(control|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,18}):([0-9a-f]{64})")
_NAMED: Final = 100  # faults a chain; the rest are counted

FaultKind = Literal["changed", "inserted", "moved", "missing", "cut", "head", "anchor"]


class Anchor(msgspec.Struct, frozen=True):
    """A head that was noted elsewhere: this chain had this event, with this hash."""

    chain: TenantId
    sequence: int
    hash: bytes

    def __str__(self) -> str:
        return f"{chain_name(self.chain)}:{self.sequence}:{self.hash.hex()}"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong at an event of a chain."""

    kind: FaultKind
    sequence: int
    says: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a chain: `head` is to be noted elsewhere; `faults` are the first hundred of `fault_count`."""

    chain: str
    tenant: str | None
    events: int
    head: str | None
    fault_count: int
    faults: list[Fault]


def read_anchor(text: str) -> Anchor:
    """An anchor as `verify` prints it, `CHAIN:SEQUENCE:HASH`; raises `InvalidInput`."""
    match = _ANCHOR.fullmatch(text.strip())
    if match is None:
        raise InvalidInput("a head is CHAIN:SEQUENCE:HASH, as 'cloister audit verify' prints it")
    chain = CONTROL if match[1] == "control" else TenantId(UUID(match[1]))
    return Anchor(chain, int(match[2]), bytes.fromhex(match[3]))


async def verify(
    database: Database, *, chain: TenantId | None = None, anchors: Sequence[Anchor] = ()
) -> AsyncIterator[Verdict]:
    """The verdict on each chain, or on one, also on one that an anchor names and that is gone."""
    async with database.control() as connection:
        heads = {head.chain: head for head in await list_heads(connection)}
    named = [*heads, *(anchor.chain for anchor in anchors if anchor.chain not in heads)]
    for each in dict.fromkeys(named) if chain is None else [chain]:
        head = heads.get(each) or Head(chain=each, slug=None, sequence=None, hash=None)
        check = ChainCheck(head, [anchor for anchor in anchors if anchor.chain == each])
        await check.read(read_chain(database, each))
        yield check.verdict(await read_head(database, each))


class ChainCheck:
    """One pass over a chain, in the memory of one event and of the faults that are named."""

    def __init__(self, head: Head, anchors: Sequence[Anchor] = ()) -> None:
        self._head = head
        self._anchors = {anchor.sequence: anchor for anchor in anchors}
        self._last: Recorded | None = None
        self._events = 0
        self._faults: list[Fault] = []
        self._fault_count = 0

    async def read(self, events: AsyncIterable[Recorded]) -> None:
        """Look at every event, in order."""
        async for event in events:
            self.look(event)

    def look(self, event: Recorded) -> None:
        """Look at the next event."""
        sequence, last = event.sequence, self._last
        expected = last.sequence + 1 if last else 1
        if sequence > expected:
            gone = f"event {expected} is" if sequence == expected + 1 else f"events {expected} to {sequence - 1} are"
            self._fault("missing", expected, f"{gone} missing")
        if event_hash(event) != event.hash:
            self._fault("changed", sequence, f"event {sequence} is not what was hashed")
        elif sequence == expected and event.previous_hash != (last.hash if last else _ZERO):
            self._fault("inserted", sequence, self._broken(sequence))
        if place := _misplaced(self._head.chain, event):
            self._fault("moved", sequence, f"event {sequence} {place}")
        anchor = self._anchors.pop(sequence, None)
        if anchor and anchor.hash != event.hash:
            self._fault("anchor", sequence, f"event {sequence} is not the one that was noted")
        self._last, self._events = event, self._events + 1

    def verdict(self, head: tuple[int, bytes] | None) -> Verdict:
        """What it came to; `head` is what is kept of the last event, now that the chain has been read."""
        last = self._last.sequence if self._last else 0
        for missing in self._anchors:
            self._fault("cut", last, f"event {missing} was noted and is gone: the chain ends at {last}")
        # The chain may have grown while it was read: it reaches from the head of before to the head of now.
        before, now = self._head.sequence or 0, head or (0, _ZERO)
        if before > last:
            self._fault("cut", last, f"the chain ends at {last}, and its head is at {before}")
        elif last > now[0]:
            self._fault("head", last, f"the chain goes on to {last}, and its head is at {now[0]}")
        elif self._last and last == now[0] and self._last.hash != now[1]:
            self._fault("head", last, f"event {last} is not the one that the head was made of")
        return Verdict(
            chain=chain_name(self._head.chain),
            tenant=self._head.slug,
            events=self._events,
            head=str(Anchor(self._head.chain, last, self._last.hash)) if self._last else None,
            fault_count=self._fault_count,
            faults=self._faults,
        )

    def _broken(self, sequence: int) -> str:
        if sequence == 1:
            return "event 1 follows something that is not here"
        return f"event {sequence} does not follow event {sequence - 1}: that one was replaced, or this one put in"

    def _fault(self, kind: FaultKind, sequence: int, says: str) -> None:
        self._fault_count += 1
        if len(self._faults) < _NAMED:
            self._faults.append(Fault(kind, sequence, says))


def event_hash(event: Recorded) -> bytes:
    """The hash that the event should have."""
    return hashlib.sha256(event.previous_hash + event.event.encode()).digest()


def _misplaced(chain: TenantId, event: Recorded) -> str | None:
    """Where the event itself says it stands, if that is not where it is."""
    try:
        said: dict[str, Any] = msgspec.json.decode(event.event)
        place = said["metadata"]["tenant_uid"], said["metadata"]["sequence"]
        moment = said["time"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "is not an event"
    if place[0] != str(chain):
        return "belongs to another chain"
    if place[1] != event.sequence:
        return f"says that it is event {place[1]}"
    return "has another time than it says" if moment != _milliseconds(event.occurred_at) else None


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
