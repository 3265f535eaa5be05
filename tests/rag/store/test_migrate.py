"""Migrations on databases of their own: applied once, in order, by one runner at a time, or refused with a reason."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from rag.embedded import programs
from rag.errors import DatabaseUnavailable, SetupError
from rag.store.migrate import load_migrations, migrate, migrations_folder, pending_migrations

ALL = load_migrations(migrations_folder())


@pytest.fixture
def owner_url(new_database: Callable[..., tuple[str, str]]) -> str:
    """An empty database with the extensions, as the role that migrates it."""
    url, _ = new_database()
    return url


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Write a folder of migrations, `migrate:up` lines added."""

    def write(files: dict[str, str]) -> Path:
        for path in tmp_path.glob("*.sql"):
            path.unlink()
        for name, text in files.items():
            (tmp_path / name).write_text(f"-- migrate:up\n{text}\n", "utf-8")
        return tmp_path

    return write


def schema_of(url: str) -> str:
    """The schema as pg_dump prints it."""
    dump = programs.find(programs.POSTGRES, programs.POSTGRES.installed()).with_name("pg_dump")
    printed = subprocess.run([dump, "--schema-only", url], check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in printed.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def ledger(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT name FROM public.cloister_migrations ORDER BY version").fetchall()
    return [name for (name,) in rows]


# ---------------------------------------------------------------- the migrations of this release


def test_an_empty_database_gets_them_all_once(owner_url):
    said: list[str] = []
    assert pending_migrations(owner_url) == [m.name for m in ALL]
    assert migrate(owner_url, say=said.append) == len(ALL)
    assert said == [f"applied {m.name}" for m in ALL]
    assert ledger(owner_url) == [m.name for m in ALL]
    assert pending_migrations(owner_url) == []
    assert migrate(owner_url) == 0


def test_one_release_after_another_comes_to_the_same_schema_as_all_at_once(owner_url, new_database, tmp_path):
    for migration in ALL:
        (tmp_path / f"{migration.name}.sql").write_text(migration.sql, "utf-8")
        assert migrate(owner_url, tmp_path) == 1
    at_once, _ = new_database()
    migrate(at_once)
    schema = schema_of(owner_url)
    assert "CREATE POLICY tenant ON cloister.chunks" in schema
    assert schema == schema_of(at_once)


def test_the_tests_run_on_the_replayed_schema(owner_url, settings):
    migrate(owner_url)
    assert schema_of(settings.secret("migration_database_url")) == schema_of(owner_url)


def test_every_file_is_named_for_its_deploy_and_numbered_without_a_gap():
    assert [m.version for m in ALL] == [f"{n:04}" for n in range(1, len(ALL) + 1)]
    assert {m.name.split("_")[1] for m in ALL} <= {"pre", "post"}


def test_everything_belongs_to_the_owner(owner_url):
    migrate(owner_url)
    with psycopg.connect(owner_url) as connection:
        owners = connection.execute(
            "SELECT DISTINCT c.relowner::regrole::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname IN ('cloister', 'jobs')"
        ).fetchall()
    assert owners == [("cloister_owner",)]


# ---------------------------------------------------------------- what is refused


def test_an_edited_migration_is_refused(owner_url, folder):
    migrate(owner_url, folder({"0001_pre_a.sql": "CREATE TABLE public.a ();"}))
    edited = folder({"0001_pre_a.sql": "CREATE TABLE public.b ();", "0002_pre_c.sql": "CREATE TABLE public.c ();"})
    with pytest.raises(SetupError, match="0001_pre_a was edited"):
        migrate(owner_url, edited)
    with pytest.raises(SetupError, match="0001_pre_a was edited"):
        pending_migrations(owner_url, edited)
    assert ledger(owner_url) == ["0001_pre_a"]


def test_one_that_comes_before_an_applied_one_is_refused(owner_url, folder):
    applied = {"0001_pre_a.sql": "SELECT 1;", "0003_pre_c.sql": "SELECT 3;"}
    migrate(owner_url, folder(applied))
    with pytest.raises(SetupError, match="out of order: 0002_pre_b"):
        migrate(owner_url, folder({**applied, "0002_pre_b.sql": "SELECT 2;"}))
    assert ledger(owner_url) == ["0001_pre_a", "0003_pre_c"]


def test_a_database_of_a_later_release_is_refused(owner_url, folder):
    migrate(owner_url, folder({"0001_pre_a.sql": "SELECT 1;", "0002_post_b.sql": "SELECT 2;"}))
    with pytest.raises(SetupError, match=r"ahead of this release.*0002"):
        migrate(owner_url, folder({"0001_pre_a.sql": "SELECT 1;"}))


@pytest.mark.parametrize("name", ["1_pre_a.sql", "0001_a.sql", "0001_pre_A.sql", "0001_during_a.sql", "0001_pre_.sql"])
def test_a_file_with_another_name_is_refused(name, folder):
    with pytest.raises(SetupError, match="not a migration"):
        load_migrations(folder({name: "SELECT 1;"}))


def test_a_file_without_its_first_line_is_refused(tmp_path):
    (tmp_path / "0001_pre_a.sql").write_text("SELECT 1;", "utf-8")
    with pytest.raises(SetupError, match="not a migration"):
        load_migrations(tmp_path)


def test_a_number_used_twice_is_refused(folder):
    with pytest.raises(SetupError, match="same number"):
        load_migrations(folder({"0001_pre_a.sql": "SELECT 1;", "0001_post_b.sql": "SELECT 1;"}))


def test_a_server_that_does_not_answer_is_unavailable(tmp_path):
    nowhere = f"postgresql://cloister_owner@/cloister?host={tmp_path}"
    with pytest.raises(DatabaseUnavailable):
        migrate(nowhere)
    with pytest.raises(DatabaseUnavailable):
        pending_migrations(nowhere)


# ---------------------------------------------------------------- what goes wrong on the way


def test_a_migration_that_fails_is_named_and_leaves_nothing(owner_url, folder):
    files = {"0001_pre_a.sql": "CREATE TABLE public.a ();", "0002_pre_b.sql": "CREATE TABLE public.b (); SELECT 1 / 0;"}
    with pytest.raises(SetupError, match="0002_pre_b"):
        migrate(owner_url, folder(files))
    assert ledger(owner_url) == ["0001_pre_a"]
    with psycopg.connect(owner_url) as connection:
        assert connection.execute("SELECT to_regclass('public.b')").fetchone() == (None,)


def test_after_it_was_mended_it_goes_on_from_there(owner_url, folder):
    migrate(owner_url, folder({"0001_pre_a.sql": "CREATE TABLE public.a ();"}))
    more = folder({"0001_pre_a.sql": "CREATE TABLE public.a ();", "0002_pre_b.sql": "CREATE TABLE public.b ();"})
    assert pending_migrations(owner_url, more) == ["0002_pre_b"]
    assert migrate(owner_url, more) == 1


def test_two_runners_at_once_apply_each_once(owner_url):
    together = Barrier(2)

    def run(_: int) -> int:
        together.wait()
        return migrate(owner_url)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(run, range(2))) == [0, len(ALL)]
    assert ledger(owner_url) == [m.name for m in ALL]


# ---------------------------------------------------------------- what was there before


def test_a_public_key_of_an_earlier_release_loses_all_groups_and_keeps_its_others(owner_url, tmp_path):
    for migration in ALL[:5]:
        (tmp_path / f"{migration.name}.sql").write_text(migration.sql, "utf-8")
    migrate(owner_url, tmp_path)
    insert = (
        "INSERT INTO cloister.api_keys (tenant_id, kind, digest, display, scopes, groups) "
        "SELECT tenant_id, %s, %s, '', '{search}', %s FROM cloister.tenants"
    )
    with psycopg.connect(owner_url) as connection:
        connection.execute("INSERT INTO cloister.tenants (slug, name) VALUES ('acme', 'Acme')")
        connection.execute(insert, ["publishable", bytes(32), ["*", "retail"]])
        connection.execute(insert, ["secret", bytes([1] * 32), ["*"]])
    migrate(owner_url)
    with psycopg.connect(owner_url) as connection:
        rows = connection.execute("SELECT kind, groups, origins, collections FROM cloister.api_keys").fetchall()
    assert sorted(rows) == [("publishable", ["retail"], [], None), ("secret", ["*"], [], None)]
