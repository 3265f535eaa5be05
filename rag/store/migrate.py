"""Plain-SQL migrations: applied in order, once, each with its checksum, by one runner at a time.

A file is `NNNN_{pre|post}_what.sql` with a `-- migrate:up` line; `pre` runs before the new code serves, `post` after.
The lock is polled: a session that blocks in pg_advisory_lock() holds a snapshot that CREATE INDEX CONCURRENTLY waits
for, which is a deadlock.
"""

import hashlib
import re
import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from rag.errors import DatabaseUnavailable, SetupError
from rag.store.preflight import missing_for_migration, statements_for

_LOCK: Final = 7_305_112_026
_FILE: Final = re.compile(r"(\d{4})_(pre|post)_[a-z0-9_]+\.sql")
_LEDGER: Final = """CREATE TABLE IF NOT EXISTS public.cloister_migrations (
    version text PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now())"""

Connection = psycopg.Connection[tuple[object, ...]]


class Migration(msgspec.Struct, frozen=True):
    """One file of SQL."""

    version: str
    name: str
    sql: str
    checksum: str


def migrations_folder() -> Path:
    """Where the migrations are: beside the packages in a checkout, inside them in an installed wheel."""
    packaged = Path(str(files("rag.store"))) / "migrations"
    return packaged if packaged.is_dir() else Path(str(files("rag"))).parent / "migrations"


def load_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder in order; raises `SetupError` for a bad name or a number used twice."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        text = path.read_text("utf-8")
        if not match or not text.startswith("-- migrate:up\n"):
            raise SetupError(f"{path.name}: not a migration (NNNN_pre_what.sql, first line '-- migrate:up')")
        found.append(Migration(match[1], path.stem, text, hashlib.sha256(text.encode()).hexdigest()))
    if len({m.version for m in found}) != len(found):
        raise SetupError("two migrations have the same number")
    return found


def migrate(url: str, folder: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> int:
    """Apply what has not been applied, as the owner role; returns how many were.

    Raises `SetupError` with the statements an administrator has to run when something is missing, when an applied
    migration was edited, or when the database is ahead of this release.
    """
    migrations = load_migrations(folder or migrations_folder())
    try:
        connection: Connection = psycopg.connect(url, autocommit=True, application_name="cloister-migrate")
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable("PostgreSQL does not answer; is MIGRATION_DATABASE_URL right?") from error
    with connection:
        if missing := missing_for_migration(connection):
            statements = statements_for(missing)
            raise SetupError(f"the database is not ready; an administrator runs, in this database:\n{statements}")
        _lock(connection)
        connection.execute(_LEDGER)
        connection.execute("GRANT SELECT ON public.cloister_migrations TO cloister_app")
        pending = _pending(connection, migrations)
        for migration in pending:
            try:
                _apply(connection, migration)
            except psycopg.Error as error:
                raise SetupError(f"{migration.name} failed, and nothing of it was kept: {error}") from error
            say(f"applied {migration.name}")
        return len(pending)


def pending_migrations(url: str, folder: Path | None = None) -> list[str]:
    """The names of the migrations that have not been applied; raises as `migrate` does."""
    migrations = load_migrations(folder or migrations_folder())
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT to_regclass('public.cloister_migrations') IS NOT NULL").fetchone()
            if row is None or not row[0]:
                return [migration.name for migration in migrations]
            return [migration.name for migration in _pending(connection, migrations)]
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable("PostgreSQL does not answer") from error


@cache
def newest_migration() -> str:
    """The number of the newest migration of this release."""
    return load_migrations(migrations_folder())[-1].version


def _lock(connection: Connection) -> None:
    deadline = time.monotonic() + 600
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > deadline:
            raise SetupError("another migration has been running for ten minutes; see pg_stat_activity")
        time.sleep(0.25)


def _pending(connection: Connection, migrations: list[Migration]) -> list[Migration]:
    rows = connection.execute("SELECT version, checksum FROM public.cloister_migrations").fetchall()
    applied = {f"{version}": f"{checksum}" for version, checksum in rows}
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise SetupError(f"{migration.name} was edited after it had been applied; add a new migration instead")
    if ahead := sorted(set(applied) - {m.version for m in migrations}):
        raise SetupError(f"the database is ahead of this release: it has migrations {', '.join(ahead)}")
    pending = [m for m in migrations if m.version not in applied]
    if late := [m.name for m in pending if applied and m.version < max(applied)]:
        raise SetupError(f"out of order: {', '.join(late)} come before what has been applied")
    return pending


def _apply(connection: Connection, migration: Migration) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '5s'")
        connection.execute("SET LOCAL statement_timeout = '10min'")
        connection.execute(migration.sql.encode())  # a file of this program
        connection.execute(
            "INSERT INTO public.cloister_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            (migration.version, migration.name, migration.checksum),
        )
