"""What a database must have before the migrations run, each lack with the statement that mends it."""

from collections.abc import Sequence
from typing import Final

import msgspec
import psycopg

from rag.errors import DatabaseUnavailable

Connection = psycopg.Connection[tuple[object, ...]]

_EXTENSIONS: Final = ("vector", "btree_gin", "pg_trgm", "unaccent")
_LEAST_SERVER: Final = 160_000
_LEAST_VECTOR: Final = (0, 8, 4)


class Lack(msgspec.Struct, frozen=True):
    """Something that is missing, and the statement for an administrator to run."""

    statement: str
    why: str


def missing_for_migration(connection: Connection) -> list[Lack]:
    """What an administrator has to do before the migrations can run; empty when nothing is missing."""
    return [*_server(connection), *_owner(connection), *_app_role(connection), *_extensions(connection)]


def lacks_at(url: str) -> list[Lack]:
    """What an administrator has to do in the database at `url`, seen as its role; raises `DatabaseUnavailable`."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            return missing_for_migration(connection)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable("PostgreSQL does not answer at MIGRATION_DATABASE_URL") from error


def statements_for(lacks: Sequence[Lack]) -> str:
    """The statements for an administrator, one a line, each with its reason."""
    return "\n".join(f"  {lack.statement}    -- {lack.why}" for lack in lacks)


def _server(connection: Connection) -> list[Lack]:
    if connection.info.server_version >= _LEAST_SERVER:
        return []
    return [Lack("-- upgrade to PostgreSQL 16, 17 or 18", f"the server is {connection.info.server_version // 10000}")]


def _owner(connection: Connection) -> list[Lack]:
    row = connection.execute(
        "SELECT current_user, r.rolsuper OR r.rolbypassrls, current_database(), "
        "has_database_privilege(current_database(), 'CREATE'), has_schema_privilege('public', 'CREATE') "
        "FROM pg_roles r WHERE r.rolname = current_user"
    ).fetchone()
    assert row is not None  # noqa: S101 - the current user is a role
    user, powerful, database, may_create, may_create_in_public = row
    lacks = []
    if powerful:
        known = connection.execute("SELECT FROM pg_roles WHERE rolname = 'cloister_owner'").fetchone() is not None
        lacks.append(
            Lack(
                f"{'ALTER' if known else 'CREATE'} ROLE cloister_owner LOGIN NOSUPERUSER NOBYPASSRLS; "
                f'ALTER DATABASE "{database}" OWNER TO cloister_owner;',
                f"'{user}' passes by row-level security, so what it owned would too: "
                "point MIGRATION_DATABASE_URL at cloister_owner",
            )
        )
    if not may_create:
        lacks.append(Lack(f'GRANT CREATE ON DATABASE "{database}" TO "{user}";', "to make the schema cloister"))
    if not may_create_in_public:
        lacks.append(Lack(f'GRANT CREATE ON SCHEMA public TO "{user}";', "to keep the ledger of migrations"))
    return lacks


def _app_role(connection: Connection) -> list[Lack]:
    row = connection.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = 'cloister_app'").fetchone()
    if row is None:
        statement = "CREATE ROLE cloister_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '…';"
        return [Lack(statement, "the role that serves and ingests")]
    if row[0]:
        return [Lack("ALTER ROLE cloister_app NOSUPERUSER NOBYPASSRLS;", "it must not pass by row-level security")]
    return []


def _extensions(connection: Connection) -> list[Lack]:
    rows = connection.execute("SELECT extname, extversion FROM pg_extension").fetchall()
    installed = {str(name): str(version) for name, version in rows}
    lacks = [
        Lack(f"CREATE EXTENSION {name} SCHEMA public;", "an extension that the search needs")
        for name in _EXTENSIONS
        if name not in installed
    ]
    version = tuple(int(part) for part in installed.get("vector", "999").split(".")[:3])
    if version < _LEAST_VECTOR:
        least = ".".join(map(str, _LEAST_VECTOR))
        lacks.append(Lack("ALTER EXTENSION vector UPDATE;", f"pgvector is {installed['vector']}, needed is {least}"))
    return lacks
