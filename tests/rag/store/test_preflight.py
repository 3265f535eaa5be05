"""A database that is not ready is told so, with the statements that make it ready: they are run here as printed."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from rag.embedded import EmbeddedServers, temporary_servers
from rag.errors import DatabaseUnavailable, SetupError
from rag.store.migrate import migrate
from rag.store.preflight import Lack, lacks_at, missing_for_migration, statements_for

EXTENSIONS = ["vector", "btree_gin", "pg_trgm", "unaccent"]


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedServers]:
    """A server whose roles may be changed without anybody noticing."""
    with temporary_servers() as running:
        yield running


@pytest.fixture
def as_owner(own_servers: EmbeddedServers) -> Iterator[Callable[[], list[str]]]:
    """What is missing, as the owner sees it."""
    with psycopg.connect(own_servers.owner_url, autocommit=True) as owner:
        yield lambda: [lack.statement for lack in missing_for_migration(owner)]


@pytest.fixture
def admin(own_servers: EmbeddedServers) -> Iterator[psycopg.Connection]:
    with psycopg.connect(own_servers.admin_url.replace("/postgres?", "/cloister?"), autocommit=True) as connection:
        yield connection


def test_a_database_that_was_set_up_lacks_nothing(new_database):
    owner_url, _ = new_database()
    assert lacks_at(owner_url) == []


def test_missing_extensions_are_asked_for_and_what_is_printed_mends_it(new_database):
    owner_url, admin_url = new_database(extensions=False)
    assert [lack.statement for lack in lacks_at(owner_url)] == [
        f"CREATE EXTENSION {name} SCHEMA public;" for name in EXTENSIONS
    ]
    with pytest.raises(SetupError) as refusal:
        migrate(owner_url)
    head, _, printed = refusal.value.message.partition("\n")
    assert "administrator" in head
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(printed)
    assert migrate(owner_url) > 0


def test_a_role_that_may_not_create_is_told_what_to_be_granted(new_database):
    owner_url, admin_url = new_database(owner="postgres")
    printed = statements_for(lacks_at(owner_url))
    assert "GRANT CREATE ON DATABASE" in printed
    assert "GRANT CREATE ON SCHEMA public" in printed
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(printed)
    assert lacks_at(owner_url) == []
    assert migrate(owner_url) > 0


def test_a_superuser_is_refused(new_database):
    """What it owned would pass by row-level security."""
    _, admin_url = new_database()
    with pytest.raises(SetupError, match="passes by row-level security"):
        migrate(admin_url)
    with psycopg.connect(admin_url) as admin:
        assert admin.execute("SELECT to_regnamespace('cloister')").fetchone() == (None,)


def test_what_a_superuser_is_told_can_be_run_as_printed(new_database, servers):
    owner_url, admin_url = new_database(owner="postgres")
    printed = statements_for(lacks_at(admin_url))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(printed)
    assert lacks_at(owner_url) == []


@pytest.mark.parametrize("attribute", ["BYPASSRLS", "SUPERUSER"])
def test_an_owner_that_passes_by_row_level_security_is_refused(attribute, admin, as_owner):
    admin.execute(f"ALTER ROLE cloister_owner {attribute}")
    try:
        assert any("NOBYPASSRLS" in statement for statement in as_owner())
    finally:
        admin.execute(f"ALTER ROLE cloister_owner NO{attribute}")
    assert as_owner() == []


def test_a_missing_app_role_is_reported(admin, as_owner):
    admin.execute("ALTER ROLE cloister_app RENAME TO somebody")
    try:
        (statement,) = as_owner()
        assert statement.startswith("CREATE ROLE cloister_app LOGIN NOSUPERUSER NOBYPASSRLS")
        admin.execute(statement)
        assert as_owner() == []
        admin.execute("DROP ROLE cloister_app")
    finally:
        admin.execute("ALTER ROLE somebody RENAME TO cloister_app")


@pytest.mark.parametrize("attribute", ["BYPASSRLS", "SUPERUSER"])
def test_an_app_role_with_powers_is_mended_by_what_is_printed(attribute, admin, as_owner):
    admin.execute(f"ALTER ROLE cloister_app {attribute}")
    (statement,) = as_owner()
    admin.execute(statement)
    assert as_owner() == []


def test_an_old_pgvector_is_told_to_be_updated(admin, as_owner):
    change = "UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'"
    version = admin.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    admin.execute(change, ["0.7.4"])
    try:
        assert as_owner() == ["ALTER EXTENSION vector UPDATE;"]
    finally:
        admin.execute(change, version)


def test_a_server_that_does_not_answer_is_unavailable(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="MIGRATION_DATABASE_URL"):
        lacks_at(f"postgresql://cloister_owner@/cloister?host={tmp_path}")


def test_each_statement_stands_on_a_line_with_its_reason():
    lacks = [Lack("CREATE EXTENSION a;", "it is needed"), Lack("CREATE EXTENSION b;", "so is this")]
    assert statements_for(lacks).splitlines() == [
        "  CREATE EXTENSION a;    -- it is needed",
        "  CREATE EXTENSION b;    -- so is this",
    ]
