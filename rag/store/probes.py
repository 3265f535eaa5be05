"""What a check of isolation asks of PostgreSQL itself, as the serving role: tables read without any condition."""

import psycopg
from psycopg import sql

from rag.store.database import ControlConnection, TenantConnection
from rag.store.statements import STATEMENTS, statement

_REFUSALS = (
    psycopg.errors.InsufficientPrivilege,  # the role may not touch it at all
    psycopg.errors.UndefinedObject,  # no tenant was ever named on this connection
    psycopg.errors.InvalidTextRepresentation,  # the tenant that was named has been reset
)


async def tenant_tables(connection: ControlConnection) -> list[str]:
    """The names of all tables that hold rows of tenants, partitions too."""
    return [row["name"] for row in await (await connection.execute(statement("probes.tables"))).fetchall()]


async def definer_functions(connection: ControlConnection) -> list[str]:
    """The names of the functions that row-level security does not bind."""
    return [row["name"] for row in await (await connection.execute(statement("probes.definers"))).fetchall()]


async def rows_of(connection: ControlConnection | TenantConnection, table: str) -> list[str] | None:
    """Every row of a table that this connection is shown, as text; None when PostgreSQL refuses to read it."""
    text = sql.SQL(STATEMENTS["probes.rows"]).format(store=sql.Identifier("cloister", table))
    try:
        async with connection.transaction():
            return [row["row"] for row in await (await connection.execute(text)).fetchall()]
    except _REFUSALS:
        return None


async def take_turn(connection: ControlConnection) -> bool:
    """Whether this is the only check under way; the turn is held until the connection's transaction ends."""
    row = await (await connection.execute(statement("probes.turn"))).fetchone()
    return bool(row and row["held"])
