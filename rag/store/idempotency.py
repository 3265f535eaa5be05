"""What was answered to an Idempotency-Key, so that the same request is not done twice.

A record belongs to a tenant and a caller: a credential with all that it may. For an operator's request the operator
key's id stands where the tenant's does.
"""

from typing import Final
from uuid import UUID, uuid4

import msgspec
import psycopg

from rag.domain import TenantId
from rag.errors import KeyReused, NotFound, RequestInProgress
from rag.store.answers import get_answer
from rag.store.corpus import read_corpus
from rag.store.database import TenantConnection
from rag.store.statements import statement
from rag.tenancy import Principal

KEPT_S: Final = 86_400
LEASE_S: Final = 120  # longer than any request takes: after it, its process is dead


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A request as its repetitions are told by; `caller` and `fingerprint` are SHA-256 digests."""

    tenant: TenantId
    caller: bytes
    key: str
    fingerprint: bytes


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered: `body` None is an answer that is not kept, `answer` the kept answer that the body shows."""

    status: int
    media_type: str | None = None
    location: str | None = None
    body: bytes | None = None
    answer: UUID | None = None


async def claim(connection: TenantConnection, attempt: Attempt, reader: Principal | None) -> UUID | Reply:
    """The lease to answer the request under, or what was answered before.

    A reply that shows an answer of which `reader` may no longer read every document is forgotten, and so is one whose
    documents were deleted: the request is then a new one. Raises `KeyReused` when the key came with another request,
    and `RequestInProgress` while the same one is under way.
    """
    while True:
        lease = await _hold(connection, attempt)
        if lease is not None:
            return lease
        found = await _find(connection, attempt)
        if found is None:  # let go in this very moment
            continue
        if await _readable(connection, attempt.tenant, reader, found):
            return found
        await connection.execute(statement("idempotency.forget"), _address(attempt))


async def finish(connection: TenantConnection, attempt: Attempt, lease: UUID, reply: Reply) -> None:
    """Keep the reply for a day, unless the lease was lost.

    Raises `NotFound`, and the transaction is spoilt, when the answer that it shows is not kept either.
    """
    values = {
        **_address(attempt),
        "lease": lease,
        "status": reply.status,
        "media_type": reply.media_type,
        "location": reply.location,
        "body": reply.body,
        "answer": reply.answer,
    }
    try:
        await connection.execute(statement("idempotency.finish"), values)
    except psycopg.errors.ForeignKeyViolation as error:
        raise NotFound("no such answer") from error


async def release(connection: TenantConnection, attempt: Attempt, lease: UUID) -> None:
    """Let the key go: the request was refused or failed, and may be sent again."""
    await connection.execute(statement("idempotency.release"), {**_address(attempt), "lease": lease})


async def purge_expired(connection: TenantConnection, tenant: TenantId, limit: int) -> int:
    """Delete up to `limit` records whose time is over; gives how many there were."""
    return (await connection.execute(statement("idempotency.purge"), {"tenant": tenant, "limit": limit})).rowcount


async def _hold(connection: TenantConnection, attempt: Attempt) -> UUID | None:
    values = {
        **_address(attempt),
        "fingerprint": attempt.fingerprint,
        "lease": uuid4(),
        "lease_s": LEASE_S,
        "kept_s": KEPT_S,
    }
    row = await (await connection.execute(statement("idempotency.claim"), values)).fetchone()
    return row["lease"] if row else None


async def _find(connection: TenantConnection, attempt: Attempt) -> Reply | None:
    row = await (await connection.execute(statement("idempotency.find"), _address(attempt))).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != attempt.fingerprint:
        raise KeyReused("this Idempotency-Key came before with another request; send a new one")
    if row["status"] is None:
        raise RequestInProgress("the same request is under way", retry_after=1.0)
    return Reply(
        status=row["status"],
        media_type=row["media_type"],
        location=row["location"],
        body=row["body"],
        answer=row["answer_id"],
    )


async def _readable(connection: TenantConnection, tenant: TenantId, reader: Principal | None, reply: Reply) -> bool:
    if reply.answer is None:
        return True
    if reader is None:
        return False
    try:
        await get_answer(connection, tenant, reply.answer, acl=(await read_corpus(connection, reader)).acl_ids)
    except NotFound:
        return False
    return True


def _address(attempt: Attempt) -> dict[str, object]:
    return {"tenant": attempt.tenant, "caller": attempt.caller, "key": attempt.key}
