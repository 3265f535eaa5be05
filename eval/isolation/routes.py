"""The service's own routes, one by one, as everybody who may not, and as those who may."""

from collections.abc import Sequence
from typing import Final

from eval.isolation.callers import Caller
from eval.isolation.database import rows_of_tenant
from eval.isolation.drives import DRIVES, Drive
from eval.isolation.estate import ALPHA
from eval.isolation.judge import Judge
from eval.isolation.requests import ids_of, request
from eval.isolation.service import Operation

UNKNOWN: Final = "unknown routes"
STREAMS: Final = "streams"
EXPORTS: Final = "exports"

Known = tuple[Operation, Drive]


def known_routes(judge: Judge, operations: Sequence[Operation]) -> list[Known]:
    """The routes with their drives; one that is not in the table, or whose path has an id of nothing, is a finding."""
    judge.ledger.open(UNKNOWN)
    found: list[Known] = []
    for operation in operations:
        drive = DRIVES.get(operation.id)
        judge.ledger.tried(
            UNKNOWN, operation.id, "-", f"{operation.method} {operation.path}", "known" if drive else "?"
        )
        if drive is None:
            what = f"{operation.method} {operation.path} is not in the table of eval/isolation/drives.py"
            judge.ledger.found(UNKNOWN, operation.id, "-", what)
        elif without := [name for name in operation.path_names if name not in ids_of(judge.estate.target)]:
            judge.ledger.found(UNKNOWN, operation.id, "-", f"no canary has a {{{without[0]}}}: add a recipe for one")
        else:
            found.append((operation, drive))
    return found


def door_of(operation: Operation) -> str:
    """Under which door a route is counted."""
    if "export" in operation.id.lower():
        return EXPORTS
    return STREAMS if operation.streams and operation.method == "GET" else operation.tag


async def try_route(judge: Judge, operation: Operation, drive: Drive) -> None:
    """Drive one route as every caller whose key opens it; what a stranger did must have changed nothing of alpha's."""
    before = await rows_of_tenant(judge.estate, ALPHA) if drive.changes else {}
    for caller in judge.estate.callers.values():
        if drive.opens == "public":
            await judge.ask(door_of(operation), operation.id, caller, request(operation, judge.estate.target))
        elif drive.admits(caller):
            await _try_as(judge, operation, drive, caller)
    if drive.changes:
        after = await rows_of_tenant(judge.estate, ALPHA)
        for table in sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
            what = f"{operation.method} {operation.path} as somebody else's changed alpha's rows in {table}"
            judge.ledger.found(door_of(operation), operation.id, "beta", what)


async def _try_as(judge: Judge, operation: Operation, drive: Drive, caller: Caller) -> None:
    estate, door = judge.estate, door_of(operation)
    if caller.kind == "operator":
        if not drive.changes:
            await _ask_as_reader(judge, operation, drive, caller, holds=True)
        await _cross(judge, operation, drive, caller)
    elif caller.tenant != ALPHA:
        ghost = estate.target.ghost()
        bodies = zip(*(drive.bodies(t.document, operation.fields) for t in (estate.target, ghost)), strict=True)
        for mine, theirs in bodies:
            real, absent = request(operation, estate.target, mine), request(operation, ghost, theirs)
            if operation.path_names or mine.alike != "no":
                await judge.alike(door, operation.id, caller, (real, estate.target), (absent, ghost))
            else:
                await judge.ask(door, operation.id, caller, real)
        await _cross(judge, operation, drive, caller)
    elif not drive.changes:
        holds = caller.holds(frozenset(estate.target.document.groups))
        await _ask_as_reader(judge, operation, drive, caller, holds=holds)


async def _ask_as_reader(judge: Judge, operation: Operation, drive: Drive, caller: Caller, *, holds: bool) -> None:
    """As a caller of the target's own tenant: one that `holds` it must be shown it, another one must not."""
    target, door = judge.estate.target, door_of(operation)
    ghost = target.ghost()
    pairs = zip(*(drive.bodies(t.document, operation.fields) for t in (target, ghost)), strict=True)
    for number, (mine, theirs) in enumerate(pairs):
        real = request(operation, target, mine)
        if holds and drive.shows and number == 0:
            await judge.shows(door, operation.id, caller, real, target)
        elif not holds and (drive.decided_by == "groups" or mine.alike == "all"):
            absent = request(operation, ghost, theirs)
            await judge.alike(door, operation.id, caller, (real, target), (absent, ghost))
        else:
            await judge.ask(door, operation.id, caller, real)


async def _cross(judge: Judge, operation: Operation, drive: Drive, caller: Caller) -> None:
    """Alpha's inner id below an outer one that the caller does have."""
    if len(operation.path_names) < 2 or not drive.crosses:  # noqa: PLR2004 - an outer and an inner one
        return
    estate, outer = judge.estate, operation.path_names[0]
    own = {outer: estate.things["beta/red"].ids[outer]}
    ghost = estate.target.ghost()
    pairs = [(thing, drive.bodies(thing.document, operation.fields)) for thing in (estate.target, ghost)]
    real, absent = ((request(operation, thing, next(iter(bodies)), ids=own), thing) for thing, bodies in pairs)
    await judge.alike(door_of(operation), operation.id, caller, real, absent)
