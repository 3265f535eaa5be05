"""Connections to PostgreSQL: a tenant's, made only here, and the control plane's, which sees no tenant's rows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NewType, Self

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from rag.audit import SYSTEM, Actor
from rag.domain import TenantId
from rag.errors import (
    ApprovalRequired,
    CloisterError,
    DatabaseUnavailable,
    InvalidInput,
    Overloaded,
    SetupError,
    TenantErased,
    TooLarge,
    WriteConflict,
)
from rag.store.statements import statement


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection that knows whom it acts for, and holds what its transaction is to leave in the audit trail."""

    by: Actor
    entries: list[tuple[TenantId, dict[str, Any]]]  # chain and event, from rag.store.audit.record


TenantConnection = NewType("TenantConnection", Connection)  # made by Database.tenant alone
ControlConnection = NewType("ControlConnection", Connection)  # made by Database.control alone

# `jobs` holds procrastinate's tables, which name each other without a schema.
_GRACE_S = 2.0  # after which a server that does not even cancel is given up
# One process a statement: with several, one tenant's large search would take every core from the others.
_OPTIONS = (
    "-c search_path=cloister,jobs,public -c plan_cache_mode=force_custom_plan -c timezone=UTC -c jit=off "
    "-c max_parallel_workers_per_gather=0"
)


class Database:
    """A pool of connections as the app role; every tenant statement runs in a transaction that names its tenant.

    What is done through it is recorded as done by `by`.
    """

    def __init__(self, pool: AsyncConnectionPool[Connection], by: Actor = SYSTEM) -> None:
        self.pool = pool
        self.by = by

    def acting_for(self, by: Actor) -> Self:
        """The same pool, for what another actor does."""
        return type(self)(self.pool, by)

    @classmethod
    async def open(cls, url: str, *, size: int = 8) -> Self:
        """Open a pool of up to `size` connections; raises `DatabaseUnavailable` when none can be had in 10 s."""
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=Connection,
            min_size=min(2, size),
            max_size=size,
            max_waiting=size * 16,
            timeout=10.0,
            kwargs={"autocommit": True, "row_factory": dict_row, "options": _OPTIONS, "application_name": "cloister"},
            configure=_configure,
            check=AsyncConnectionPool.check_connection,  # one round trip, so that a restart costs no request
            reset=_reset,
            open=False,
        )
        try:
            await pool.open(wait=True, timeout=10.0)
        except (PoolTimeout, psycopg.OperationalError) as error:
            await pool.close()
            raise DatabaseUnavailable("PostgreSQL does not answer; is DATABASE_URL right?") from error
        return cls(pool)

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()

    async def ping(self) -> None:
        """Raise `DatabaseUnavailable` unless a statement comes back."""
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    async def schema_version(self) -> str | None:
        """The number of the newest migration that has been applied; None when none has."""
        try:
            async with self._connection() as connection:
                row = await (await connection.execute(statement("schema.version"))).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return row["version"] if row else None

    @asynccontextmanager
    async def tenant(
        self, tenant: TenantId, *, snapshot: bool = False, timeout_s: float = 20.0, erased: bool = False
    ) -> AsyncIterator[TenantConnection]:
        """A transaction in which row-level security lets through the rows of this tenant alone.

        `snapshot` makes it read-only with one view of the data for all of its statements, taken once no tenant's
        partition is being swapped. A statement that takes longer than `timeout_s` is ended and raises
        `DatabaseUnavailable`. Raises `TenantErased` as soon as the
        tenant's erasure has begun, unless `erased`: the erasure itself enters, and who reads its audit trail.
        """
        async with self._connection(timeout_s) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ if snapshot else None)
            await connection.set_read_only(snapshot or None)
            async with self._transaction(connection):
                values = {"tenant": tenant, "timeout": _milliseconds(timeout_s), "writes": not (snapshot or erased)}
                gone = await (_enter_snapshot if snapshot else _enter)(connection, values)
                if gone and not erased:
                    raise TenantErased("the tenant is erased, or about to be")
                yield TenantConnection(connection)

    @asynccontextmanager
    async def control(self, *, timeout_s: float = 20.0) -> AsyncIterator[ControlConnection]:
        """A transaction with no tenant: definer functions answer, tenant tables raise."""
        async with self._connection(timeout_s) as connection:
            await connection.set_isolation_level(None)
            await connection.set_read_only(None)
            async with self._transaction(connection):
                await connection.execute(
                    "SELECT set_config('statement_timeout', %s, true)", (_milliseconds(timeout_s),)
                )
                yield ControlConnection(connection)

    async def require_row_security(self) -> None:
        """Raise `SetupError` when row-level security does not bind the role that we serve as."""
        async with self._connection() as connection:
            row = await (await connection.execute(statement("schema.row_security"))).fetchone()
        if row and row["bound"] is False:
            raise SetupError(
                f"DATABASE_URL names the role '{row['role']}', which row-level security does not bind; use cloister_app"
            )

    @asynccontextmanager
    async def _transaction(self, connection: Connection) -> AsyncIterator[None]:
        """A transaction whose last statement appends to the audit trail what was done in it."""
        connection.by, connection.entries = self.by, []
        asked: ApprovalRequired | None = None
        async with connection.transaction():
            try:
                yield
            except ApprovalRequired as error:
                if not error.asked:
                    raise
                asked = error  # nothing was written but the request, which stays
            await _append(connection)
        if asked:
            raise asked

    @asynccontextmanager
    async def _connection(self, timeout_s: float = 20.0) -> AsyncIterator[Connection]:
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S), self.pool.connection() as connection:
                yield connection
        except (PoolTimeout, TooManyRequests) as error:
            raise Overloaded("every database connection is busy", retry_after=2.0) from error
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL did not answer in time", retry_after=2.0) from error
        except psycopg.OperationalError as error:
            raise _translated(error) from error
        except psycopg.errors.NumericValueOutOfRange as error:
            raise InvalidInput("a number is too large or too close to zero to be stored") from error


def _translated(error: psycopg.OperationalError) -> CloisterError:
    state = error.sqlstate or ""
    if state in {"40001", "40P01"}:
        return WriteConflict("two writes met, and this one was undone", retry_after=0.5)
    if state == "57014":
        return DatabaseUnavailable("a statement ran past the request's time", retry_after=2.0)
    if state.startswith("54"):
        return TooLarge("PostgreSQL has no room for a value of this size")
    if state.startswith("53"):
        return DatabaseUnavailable("PostgreSQL is out of disk, memory or connections", retry_after=10.0)
    return DatabaseUnavailable("PostgreSQL does not answer", retry_after=2.0)


async def _enter(connection: Connection, values: dict[str, Any]) -> bool:
    row = await (await connection.execute(statement("erasure.enter"), values)).fetchone()
    return bool(row and row["erased"])


async def _enter_snapshot(connection: Connection, values: dict[str, Any]) -> bool:
    # The snapshot is taken by the second statement, under the lock of the first, in one round trip. A snapshot from
    # before a swap would look for the tenant's rows in a partition that was filled after it, and find none.
    async with connection.pipeline():
        await connection.execute(statement("partitions.hold"))
        return await _enter(connection, values)


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


async def _append(connection: Connection) -> None:
    # In the order of the chains' ids: two transactions that write to the same two never wait for each other.
    for chain in sorted({chain for chain, _ in connection.entries}):
        events = [event for its, event in connection.entries if its == chain]
        await connection.execute(statement("audit.append"), {"chain": chain, "events": Jsonb(events)})


async def _configure(connection: Connection) -> None:
    await register_vector_async(connection)


async def _reset(connection: Connection) -> None:
    # A session-level setting would otherwise be seen by the next user of this connection.
    await connection.execute("RESET ALL")
