"""Refusals and alarms on their way into the audit trail: counted in memory, appended a minute at a time.

A refusal is nobody's write: appending it when it happens would let a flood of refused requests fill the table and wait
for the chain's lock. So requests only count, and each minute leaves at most a few events a chain, with counts.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from rag.audit import CONTROL, Act, Actor, Detail, Event, Resource
from rag.domain import TenantId
from rag.errors import CloisterError
from rag.store.audit import known_keys, record
from rag.store.database import Database
from rag.telemetry import log

_EVERY_S: Final = 60.0
_ALARM_S: Final = 5.0  # an alarm does not wait for the minute, and a storm of them is still bounded
_KINDS: Final = 2_000  # distinct kinds counted between two appends; more are one number
_A_CHAIN: Final = 20  # events a chain and append; the rest of them are one event


class _Kind(NamedTuple):
    act: Act
    chain: TenantId
    by: str  # the actor's identity: the same one on another address is the same kind
    what: tuple[tuple[str, Detail], ...]
    digest: bytes | None  # of a key that opened nothing


class _Count:
    """How often a kind came, since when, and from whom at last."""

    def __init__(self) -> None:
        self.times = 0
        self.since = datetime.now(UTC)
        self.last = Actor(type="system")

    def add(self, by: Actor, times: int) -> None:
        self.times += times
        self.last = by


class Incidents:
    """Counts incidents without waiting, and appends them from a task of its own; what a killed process had is lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[_Kind, _Count] = {}
        self._strangers: dict[_Kind, _Count] = {}  # apart, so that a flood of invented keys drives nothing else out
        self._uncounted = 0
        self._alarmed = asyncio.Event()
        self._appending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to append."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Append what there is, and end."""
        if self._task:
            async with self._appending:
                self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    def forbidden(self, tenant: TenantId | None, by: Actor, *, method: str, route: str) -> None:
        """Count a valid credential that was refused a route."""
        what = (("method", method), ("route", route))
        self._count(self._known, _Kind(Act.ACCESS_FORBIDDEN, tenant or CONTROL, by.identity, what, None), by)

    def unauthenticated(self, digest: bytes, by: Actor) -> None:
        """Count a key that opened nothing; it is appended if it once was one of ours, by the digest."""
        self._count(self._strangers, _Kind(Act.ACCESS_UNAUTHENTICATED, CONTROL, "", (), digest), by)

    def alarm(self, tenant: TenantId, by: Actor, *, where: str, times: int) -> None:
        """Count something of another tenant's, or of a closed document, that the second check stopped."""
        kind = _Kind(Act.ISOLATION_ALARM, tenant, by.identity, (("where", where),), None)
        self._count(self._known, kind, by, times)
        self._alarmed.set()

    async def flush(self) -> None:
        """Append what was counted; where that fails it is logged, and lost."""
        async with self._appending:
            counted, self._known = self._known, {}
            strangers, self._strangers = self._strangers, {}
            uncounted, self._uncounted = self._uncounted, 0
            try:
                await self._append({**counted, **await self._recognised(strangers)}, uncounted)
            except CloisterError as error:
                log.warning("incidents_lost", kinds=len(counted) + len(strangers), error=error.code)

    def _count(self, counts: dict[_Kind, _Count], kind: _Kind, by: Actor, times: int = 1) -> None:
        if kind not in counts and len(counts) >= _KINDS:
            self._uncounted += times
            return
        counts.setdefault(kind, _Count()).add(by, times)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._alarmed.wait()
            self._alarmed.clear()
            await self.flush()
            await asyncio.sleep(_ALARM_S)

    async def _recognised(self, strangers: dict[_Kind, _Count]) -> dict[_Kind, _Count]:
        if not strangers:
            return {}
        async with self._database.control() as connection:
            ours = await known_keys(connection, [kind.digest for kind in strangers if kind.digest])
        found: dict[_Kind, _Count] = {}
        for kind, count in strangers.items():
            if kind.digest in ours:
                key, tenant = ours[kind.digest]
                count.last = _holder(key, count.last)
                found[kind._replace(chain=tenant or CONTROL, by=str(key))] = count
        return found

    async def _append(self, counted: dict[_Kind, _Count], uncounted: int) -> None:
        chains: dict[TenantId, list[tuple[_Kind, _Count]]] = defaultdict(list)
        for kind, count in counted.items():
            chains[kind.chain].append((kind, count))
        for chain, incidents in chains.items():
            events = list(_events(incidents))
            await self._record(chain, events)
        if uncounted:
            await self._record(CONTROL, [_rest(uncounted)])

    async def _record(self, chain: TenantId, events: Iterable[Event]) -> None:
        async with self._database.control() as connection:
            for event in events:
                await record(connection, chain, event)


def _events(incidents: list[tuple[_Kind, _Count]]) -> Iterable[Event]:
    # An alarm before any refusal, then what came most often.
    ranked = sorted(incidents, key=lambda pair: (pair[0].act is not Act.ISOLATION_ALARM, -pair[1].times))
    yield from (_event(kind, count) for kind, count in ranked[:_A_CHAIN])
    if rest := ranked[_A_CHAIN:]:
        yield _rest(sum(count.times for _, count in rest))


def _event(kind: _Kind, count: _Count) -> Event:
    detail: dict[str, Detail] = {**dict(kind.what), "count": count.times, "since": count.since.isoformat()}
    resource = Resource("route", str(detail["route"])) if "route" in detail else None
    return Event(act=kind.act, resource=resource, by=count.last, outcome="failure", detail=detail)


def _rest(times: int) -> Event:
    return Event(act=Act.ACCESS_FORBIDDEN, outcome="failure", detail={"count": times, "of": "other kinds"})


def _holder(key: UUID, seen: Actor) -> Actor:
    return Actor(type="key", key_id=key, ip=seen.ip, request_id=seen.request_id)
