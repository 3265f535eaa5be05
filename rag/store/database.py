"""Connections to PostgreSQL: a tenant's, made only here, and the control plane's, which sees no tenant's rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NewType, Self

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rag.domain import TenantId
from rag.errors import DatabaseUnavailable, Overloaded
from rag.store.statements import statement

Connection = psycopg.AsyncConnection[DictRow]
TenantConnection = NewType("TenantConnection", Connection)  # made by Database.tenant alone
ControlConnection = NewType("ControlConnection", Connection)  # made by Database.control alone

# `jobs` holds procrastinate's tables, which name each other without a schema.
_OPTIONS = "-c search_path=cloister,jobs,public -c plan_cache_mode=force_custom_plan -c timezone=UTC -c jit=off"


class Database:
    """A pool of connections as the app role; every tenant statement runs in a transaction that names its tenant."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self.pool = pool

    @classmethod
    async def open(cls, url: str, *, size: int = 8) -> Self:
        """Open a pool of up to `size` connections; raises `DatabaseUnavailable` when none can be had in 10 s."""
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=min(2, size),
            max_size=size,
            max_waiting=size * 16,
            timeout=10.0,
            kwargs={"autocommit": True, "row_factory": dict_row, "options": _OPTIONS, "application_name": "cloister"},
            configure=_configure,
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
        self, tenant: TenantId, *, snapshot: bool = False, timeout_s: float = 20.0
    ) -> AsyncIterator[TenantConnection]:
        """A transaction in which row-level security lets through the rows of this tenant alone.

        `snapshot` makes it read-only with one view of the data for all of its statements. A statement that takes
        longer than `timeout_s` is ended and raises `DatabaseUnavailable`.
        """
        async with self._connection() as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ if snapshot else None)
            await connection.set_read_only(snapshot or None)
            async with connection.transaction():
                await connection.execute(
                    "SELECT set_config('app.tenant_id', %s, true), set_config('statement_timeout', %s, true)",
                    (str(tenant), str(max(1, round(timeout_s * 1000)))),
                )
                yield TenantConnection(connection)

    @asynccontextmanager
    async def control(self) -> AsyncIterator[ControlConnection]:
        """A transaction with no tenant: definer functions answer, tenant tables raise."""
        async with self._connection() as connection:
            await connection.set_isolation_level(None)
            await connection.set_read_only(None)
            async with connection.transaction():
                yield ControlConnection(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self.pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Overloaded("every database connection is busy", retry_after=2.0) from error
        except psycopg.errors.QueryCanceled as error:
            raise DatabaseUnavailable("a statement ran past the request's time", retry_after=2.0) from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable("PostgreSQL does not answer", retry_after=2.0) from error


async def _configure(connection: Connection) -> None:
    await register_vector_async(connection)


async def _reset(connection: Connection) -> None:
    # A session-level setting would otherwise be seen by the next user of this connection.
    await connection.execute("RESET ALL")
