"""Approvals: a privileged act is asked for by one operator, granted by another, and done once, as it was asked for."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from rag.audit import Act, Actor, Detail, Event, Resource
from rag.domain import TenantId
from rag.errors import ApprovalRequired, Conflict, Forbidden, NotFound
from rag.store.audit import record
from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import statement

LIFE: Final = timedelta(hours=24)
_MOST: Final = 100  # requests that may wait about one tenant
_END: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))

ApprovalState = Literal["pending", "granted", "denied", "used", "expired"]
Decision = Literal["granted", "denied"]


class PrivilegedAct(msgspec.Struct, frozen=True, kw_only=True):
    """What an approval is bound to: the act, the tenant it is about (None: all), and every argument of it."""

    name: str
    subject: TenantId | None = None
    arguments: dict[str, Detail] = {}

    @property
    def digest(self) -> bytes:
        """The SHA-256 of all of it: another argument, another approval."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).digest()


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A request and what became of it; `requested_by` and `decided_by` are identities, as in the audit trail."""

    approval_id: UUID
    act: str
    subject: UUID | None
    arguments: dict[str, Any]
    state: ApprovalState
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    used_at: datetime | None


async def require_approval(
    connection: TenantConnection | ControlConnection,
    act: PrivilegedAct,
    *,
    by: Actor,
    approval: UUID | None,
    required: bool,
) -> None:
    """Return when the act may be done, in this transaction, which spends the approval; else raise `ApprovalRequired`.

    Call it before anything is written. Without an approval it asks for one, and the transaction is kept with the
    request in it. Where approvals are switched off it returns at once.
    """
    if not required:
        return
    if approval is None:
        raise await _ask(connection, act, by)
    values = {"approval": approval, "digest": act.digest, "by": by.identity}
    if await (await connection.execute(statement("approvals.use"), values)).fetchone() is None:
        raise await _unusable(connection, act, by, approval)
    await _record(connection, Act.APPROVAL_USE, approval, act.name, act.subject)


async def decide_approval(connection: ControlConnection, approval: UUID, decision: Decision, *, by: Actor) -> Approval:
    """Grant or deny a request.

    Raises `Forbidden` for granting one's own, or with a key that is younger than the request; `Conflict` when it does
    not wait any more; `NotFound`.
    """
    await get_approval(connection, approval)
    values = {"approval": approval, "state": decision, "by": by.identity, "key": by.key_id}
    row = await (await connection.execute(statement("approvals.decide"), values)).fetchone()
    if row is None and (found := await get_approval(connection, approval)).state != "pending":
        raise Conflict(f"the approval is '{found.state}' already")
    if row is None:
        raise Forbidden("another operator has to grant this, with a key that was there before it was asked for")
    decided = _approval(row)
    made = Act.APPROVAL_GRANT if decision == "granted" else Act.APPROVAL_DENY
    await _record(connection, made, approval, decided.act, decided.subject)
    return decided


async def get_approval(connection: ControlConnection, approval: UUID) -> Approval:
    """One approval; raises `NotFound`."""
    row = await (await connection.execute(statement("approvals.get"), {"approval": approval})).fetchone()
    if row is None:
        raise NotFound("no such approval")
    return _approval(row)


async def list_approvals(
    connection: ControlConnection,
    *,
    state: ApprovalState | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[Approval]:
    """Approvals, newest first, those before `before`."""
    time, place = before or _END
    values = {"state": state, "before_time": time, "before_approval": place, "limit": limit}
    return [_approval(row) for row in await (await connection.execute(statement("approvals.list"), values)).fetchall()]


async def purge_approvals(connection: ControlConnection, *, days: int, limit: int) -> int:
    """Remove at most `limit` approvals that ended more than `days` ago; gives how many."""
    row = await (await connection.execute(statement("approvals.purge"), {"days": days, "limit": limit})).fetchone()
    return int(row["purged"]) if row else 0


async def _ask(
    connection: TenantConnection | ControlConnection, act: PrivilegedAct, by: Actor
) -> ApprovalRequired | Conflict:
    values = {
        "act": act.name,
        "subject": act.subject,
        "arguments": Jsonb(act.arguments),
        "digest": act.digest,
        "by": by.identity,
        "life": LIFE,
        "most": _MOST,
    }
    row = await (await connection.execute(statement("approvals.request"), values)).fetchone()
    if row is None:
        return Conflict(f"{_MOST} requests for approval wait already; have them granted or denied first")
    fresh = row.pop("fresh")
    asked = _approval(row)
    if fresh:
        await _record(connection, Act.APPROVAL_REQUEST, asked.approval_id, act.name, act.subject)
    return ApprovalRequired(_WORDS[asked.state], approval=asked.approval_id, asked=True)


async def _unusable(
    connection: TenantConnection | ControlConnection, act: PrivilegedAct, by: Actor, approval: UUID
) -> ApprovalRequired:
    # Somebody else's approval is answered like one that does not exist.
    row = await (await connection.execute(statement("approvals.get"), {"approval": approval})).fetchone()
    if row is None or (row["digest"], row["requested_by"]) != (act.digest, by.identity):
        return ApprovalRequired("you have no approval of this id for exactly this; repeat without it to ask for one")
    return ApprovalRequired(_WORDS[_approval(row).state], approval=approval)


async def _record(
    connection: TenantConnection | ControlConnection, made: Act, approval: UUID, act: str, subject: UUID | None
) -> None:
    chain = None if subject is None else TenantId(subject)
    event = Event(act=made, resource=Resource("approval", str(approval)), detail={"act": act})
    await record(connection, chain, event)


def _approval(row: dict[str, Any]) -> Approval:
    over = row["state"] in {"pending", "granted"} and row["expires_at"] <= datetime.now(UTC)
    state: ApprovalState = "expired" if over else row["state"]
    kept = {name: row[name] for name in Approval.__struct_fields__ if name != "state"}
    return Approval(state=state, **kept)


_WORDS: Final[dict[ApprovalState, str]] = {
    "pending": "another operator has to grant this first; then repeat it with the approval's id",
    "granted": "this is granted already; repeat it with the approval's id",
    "denied": "this was denied; repeat it without the approval's id to ask again",
    "used": "the approval is used up; repeat without its id to ask for another",
    "expired": "the approval has expired; repeat without its id to ask for another",
}
