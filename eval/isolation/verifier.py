"""The check: the page.

two tenants and their canaries -> every route -> what is tried with all alike -> the cache -> the command line
-> the database -> a report; and nothing of it is left
"""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from eval.isolation.caching import CACHE, CACHED, contents, try_cache, try_contents
from eval.isolation.commands import COMMANDS, try_commands
from eval.isolation.database import TABLES, try_database
from eval.isolation.drives import RECIPES
from eval.isolation.estate import Recipe
from eval.isolation.judge import Judge
from eval.isolation.ledger import Ledger, Report
from eval.isolation.planting import planted
from eval.isolation.routes import EXPORTS, STREAMS, door_of, known_routes, try_route
from eval.isolation.service import Operation, Service
from eval.isolation.statements import LAYERS, try_statements
from eval.isolation.tricks import (
    CREDENTIALS,
    CURSORS,
    ERRORS,
    REPLAYS,
    try_credentials,
    try_cursors,
    try_errors,
    try_replays,
    try_streams,
)
from rag.services import Services

_TRICKS: Final = {
    CURSORS: try_cursors,
    REPLAYS: try_replays,
    STREAMS: try_streams,
    ERRORS: try_errors,
    CREDENTIALS: try_credentials,
}
_INSIDE: Final[dict[str, Callable[[Judge], Awaitable[None]]]] = {
    CACHE: try_cache,
    COMMANDS: try_commands,
    TABLES: try_database,
    LAYERS: try_statements,
}

Follow = Callable[[str], None]


async def verify(services: Services, service: Service, *, follow: Follow = lambda _: None) -> Report:
    """Try every door, and report what was tried and found; what was made for it is removed, however this ends.

    A worker has to be running. Raises `Conflict` while another check is under way on the same database.
    """
    started = time.monotonic()
    ledger = Ledger()
    operations = await service.operations()
    follow("planting canaries in two throwaway tenants")
    async with planted(services, service, recipes_for(operations)) as estate:
        await try_doors(Judge(estate, ledger), operations, follow=follow)
        follow("removing the tenants")
    return ledger.report(service.url, time.monotonic() - started)


def recipes_for(operations: Sequence[Operation]) -> dict[str, Recipe]:
    """How to make what routes can be asked for by id, as far as this release has the routes."""
    known = {operation.id for operation in operations}
    return {name: recipe for name, recipe in RECIPES.items() if recipe.operation in known}


async def try_doors(
    judge: Judge, operations: Sequence[Operation], *, doors: Collection[str] = (), follow: Follow = lambda _: None
) -> None:
    """Try the doors that are named, all when none is."""

    def wanted(door: str) -> bool:
        return not doors or door in doors

    lying = await contents(judge.estate)
    routes = known_routes(judge, operations)
    for operation, drive in routes:
        if door_of(operation) != STREAMS and wanted(door_of(operation)):
            follow(f"{door_of(operation)}: {operation.id}")
            await try_route(judge, operation, drive)
    if not any(door_of(operation) == EXPORTS for operation, _ in routes):
        judge.ledger.open(EXPORTS, "no route exports in this release")
    for door, trick in _TRICKS.items():
        if wanted(door):
            follow(door)
            await trick(judge, routes)
    for door, inside in _INSIDE.items():
        if wanted(door):
            follow(door)
            await inside(judge)
    if wanted(CACHED):
        await try_contents(judge, lying)
