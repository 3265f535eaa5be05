"""What is tried with every route alike: keys that open nothing, broken requests, cursors, keys of replays, streams."""

from collections.abc import Sequence
from typing import Final

from eval.isolation.drives import Body
from eval.isolation.estate import ALPHA
from eval.isolation.judge import Judge
from eval.isolation.requests import broken, request
from eval.isolation.routes import STREAMS, Known

CREDENTIALS: Final = "credentials"
ERRORS: Final = "errors"
REPLAYS: Final = "replays"
CURSORS: Final = "cursors"


async def try_credentials(judge: Judge, routes: Sequence[Known]) -> None:
    """Ask everything with every key that must not open it: expired, revoked, invented, of the wrong kind or scope."""
    await judge.estate.until_revocation_bites()
    # Those without a valid key last: so many of them are slowed, and with them whoever comes from their address.
    callers = sorted(judge.estate.callers.values(), key=lambda caller: caller.kind == "void")
    for caller in callers:
        for operation, drive in routes:
            if not drive.admits(caller):
                body = next(iter(drive.bodies(judge.estate.target.document, operation.fields)))
                ask = request(operation, judge.estate.target, body)
                await judge.refused(CREDENTIALS, operation.id, caller, ask)


async def try_errors(judge: Judge, routes: Sequence[Known]) -> None:
    """Break requests in every way: what the problem says may show nothing that the caller did not say itself."""
    for operation, drive in routes:
        for name in ("beta owner", "alpha blue"):
            caller = judge.estate.callers[name]
            if drive.opens != "public" and drive.admits(caller) and (caller.tenant != ALPHA or not drive.changes):
                for ask in broken(operation, judge.estate.target):
                    await judge.ask(ERRORS, operation.id, caller, ask)


async def try_cursors(judge: Judge, routes: Sequence[Known]) -> None:
    """Go on in a list where somebody else's page ended."""
    estate = judge.estate
    judge.ledger.open(CURSORS)
    for operation, drive in routes:
        if "cursor" not in operation.query_names:
            continue
        first = request(operation, estate.target, query={"limit": "1"})
        owner = estate.callers["operator" if drive.opens == "operator" else "alpha owner"]
        page = (await judge.ask(CURSORS, operation.id, owner, first)).json()
        cursor = page.get("next_cursor") if isinstance(page, dict) else None
        for caller in estate.callers.values() if cursor else ():
            if drive.admits(caller) and caller != owner:
                own = estate.target if caller.tenant == ALPHA else estate.things["beta/open"]
                ask = request(operation, own, query={"limit": "100", "cursor": cursor or ""})
                await judge.ask(CURSORS, operation.id, caller, ask)


async def try_replays(judge: Judge, routes: Sequence[Known]) -> None:
    """Send what a reader of red has sent, with its Idempotency-Key: nobody else may be given its answer."""
    estate = judge.estate
    judge.ledger.open(REPLAYS)
    for operation, drive in routes:
        if operation.method != "POST" or not drive.shows or drive.opens in {"public", "operator"}:
            continue
        body = next(iter(drive.bodies(estate.target.document, operation.fields)))
        headers = {"Idempotency-Key": estate.target.document.shelf}
        ask = request(operation, estate.target, body, headers=headers)
        await judge.shows(REPLAYS, operation.id, estate.callers["alpha red"], ask, estate.target)
        for caller in estate.callers.values():
            if drive.admits(caller) and caller.name != "alpha red":
                await judge.ask(REPLAYS, operation.id, caller, ask)


async def try_streams(judge: Judge, routes: Sequence[Known]) -> None:
    """Open what streams, then go on as others from where its reader was."""
    estate = judge.estate
    streaming = [(operation, drive) for operation, drive in routes if operation.streams]
    judge.ledger.open(STREAMS, "" if streaming else "no route streams in this release")
    for operation, drive in streaming:
        body = next(iter(drive.bodies(estate.target.document, operation.fields)))
        if body.value is not None and "stream" in operation.fields:
            body = Body({**body.value, "stream": True})
        reader = estate.callers["alpha owner"]
        said = await judge.listen(STREAMS, operation.id, reader, request(operation, estate.target, body))
        events = [line[3:].strip() for line in said.body.decode(errors="replace").splitlines() if line[:3] == "id:"]
        for caller in estate.callers.values():
            for event in {"", *events[:1], *events[-1:]}:
                headers = {"Last-Event-ID": event} if event else {}
                await judge.listen(
                    STREAMS, operation.id, caller, request(operation, estate.target, body, headers=headers)
                )
