import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from rag import embedded
from rag.embedded.endpoints import VALKEY_SOCKET
from rag.errors import SetupError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers another account")

StartOther = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def servers() -> Iterator[embedded.EmbeddedServers]:
    with embedded.temporary_servers() as running:
        yield running


def ask(url: str, statement: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone() or ()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestWhatAStartGives:
    def test_the_owner_owns_the_database_and_neither_role_escapes_row_level_security(self, servers):
        assert ask(servers.owner_url, "SELECT current_user, current_database()") == ("cloister_owner", "cloister")
        assert ask(servers.app_url, "SELECT current_user, current_database()") == ("cloister_app", "cloister")
        powers = (
            "SELECT bool_or(rolsuper), bool_or(rolbypassrls), bool_or(rolcreaterole), bool_or(rolcreatedb), count(*)"
            " FROM pg_roles WHERE rolname LIKE 'cloister%'"
        )
        assert ask(servers.admin_url, powers) == (False, False, False, False, 2)
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'cloister'"
        assert ask(servers.admin_url, owner) == ("cloister_owner",)

    def test_the_app_role_cannot_make_tables_and_the_owner_can(self, servers):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(servers.app_url, "CREATE TABLE public.mine (id int)")
        with psycopg.connect(servers.owner_url) as connection:
            connection.execute("CREATE TABLE public.ours (id int)")
            connection.rollback()

    def test_the_extensions_are_in_public(self, servers):
        found = ask(
            servers.owner_url,
            "SELECT array_agg(extname::text ORDER BY extname) FROM pg_extension"
            " WHERE extnamespace = 'public'::regnamespace",
        )
        assert found == (["btree_gin", "pg_trgm", "unaccent", "vector"],)

    def test_the_app_role_plans_for_the_tenant_at_hand(self, servers):
        assert ask(servers.app_url, "SHOW plan_cache_mode") == ("force_custom_plan",)

    def test_text_is_unicode_to_the_parser_and_to_case_folding(self, servers):
        lexemes = "SELECT array_agg(lexeme) FROM unnest(to_tsvector('simple', 'one—two “Éclair” 日本'))"
        assert set(ask(servers.app_url, lexemes)[0]) == {"one", "two", "éclair", "日本"}

    def test_the_servers_listen_on_no_port_and_behind_a_closed_folder(self, servers):
        assert ask(servers.admin_url, "SHOW listen_addresses") == ("",)
        with redis.Redis.from_url(servers.redis_url) as cache:
            assert cache.config_get("port") == {"port": "0"}
            sockets = Path(cache.config_get("unixsocket")["unixsocket"]).parent
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets.stat().st_uid != 0

    def test_the_cache_is_bounded_and_writes_nothing_to_disk(self, servers):
        with redis.Redis.from_url(servers.redis_url) as cache:
            assert cache.config_get("maxmemory", "maxmemory-policy", "save", "appendonly") == {
                "maxmemory": str(256 * 2**20),
                "maxmemory-policy": "allkeys-lru",
                "save": "",
                "appendonly": "no",
            }

    def test_the_log_tells_of_an_error_without_the_row(self, servers):
        with psycopg.connect(servers.owner_url) as owner:
            owner.execute("CREATE TEMP TABLE letters (body text CONSTRAINT short CHECK (length(body) < 3))")
            with pytest.raises(psycopg.errors.CheckViolation):
                owner.execute("INSERT INTO letters VALUES (%s)", ["confidential"])
        log = Path(ask(servers.admin_url, "SHOW data_directory")[0]).parent / "log" / "postgres.log"
        assert 'violates check constraint "short"' in log.read_text()
        assert "confidential" not in log.read_text()

    def test_not_durable_is_what_temporary_servers_are(self, servers):
        assert ask(servers.admin_url, "SHOW fsync") == ("off",)


class TestOneDataFolder:
    def test_a_second_start_keeps_the_data_and_is_durable_unless_told_otherwise(self, place: Path):
        with embedded.start(place / "data", durable=False) as servers, psycopg.connect(servers.owner_url) as owner:
            owner.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with embedded.start(place / "data") as servers:
            assert ask(servers.owner_url, "SELECT answer FROM kept") == (42,)
            assert ask(servers.owner_url, "SHOW fsync") == ("on",)

    def test_a_start_states_again_what_the_roles_may_not(self, place: Path):
        with (
            embedded.start(place / "data", durable=False) as servers,
            psycopg.connect(servers.admin_url) as admin,
        ):
            admin.execute("ALTER ROLE cloister_app SUPERUSER BYPASSRLS")
        with embedded.start(place / "data", durable=False) as servers:
            powers = "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'cloister_app'"
            assert ask(servers.admin_url, powers) == (False, False)

    def test_stop_is_once_and_for_all(self, place: Path):
        servers = embedded.start(place / "data", durable=False)
        servers.stop()
        servers.stop()
        with pytest.raises(psycopg.OperationalError):
            ask(servers.admin_url, "SELECT 1")
        assert embedded.attach(place / "data") is None

    def test_a_start_beside_another_process_says_who_it_is_and_a_command_uses_its_servers(
        self, place: Path, other_process: StartOther
    ):
        other = other_process(place / "data")
        assert line(other) == "ready"
        with pytest.raises(SetupError, match=rf"process {other.pid} \(`-c .*`, since 20\d\d-.*runs the servers"):
            embedded.start(place / "data", durable=False)
        with embedded.open_servers(place / "data") as endpoints:
            assert ask(endpoints.app_url, "SELECT 1") == (1,)
            assert endpoints == embedded.attach(place / "data")
            assert endpoints.redis_url is not None
        assert ask(endpoints.app_url, "SELECT 1") == (1,)  # leaving the context stops nothing that was not ours

    def test_open_servers_starts_them_where_nothing_runs_and_stops_them(self, place: Path):
        assert embedded.attach(place / "data") is None
        with embedded.open_servers(place / "data", durable=False) as endpoints:
            assert ask(endpoints.app_url, "SELECT 1") == (1,)
        with pytest.raises(psycopg.OperationalError):
            ask(endpoints.app_url, "SELECT 1")

    def test_a_long_path_puts_the_sockets_elsewhere_and_leaves_nothing_there(self, place: Path):
        data = place / ("d" * 60) / ("e" * 60)
        with embedded.start(data, durable=False) as servers:
            sockets = (data / "run").readlink()
            assert sockets.is_dir()
            assert ask(servers.app_url, "SELECT 1") == (1,)
            assert embedded.attach(data) == servers.endpoints
        assert not sockets.exists()

    def test_temporary_servers_leave_nothing(self):
        with embedded.temporary_servers() as servers:
            data = Path(ask(servers.admin_url, "SHOW data_directory")[0]).parent
        assert not data.exists()


class TestTheEndOfTheParent:
    @pytest.mark.parametrize("how", ["in-main", "in-thread"])
    @pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
    def test_no_server_outlives_it(
        self, place: Path, other_process: StartOther, eventually, processes_naming, how: str, death: int
    ):
        other = other_process(place / "data", how)
        assert line(other) == "ready"
        assert len(processes_naming(place)) >= 3  # the parent, PostgreSQL, Valkey
        other.send_signal(death)
        assert other.wait() == -death
        assert eventually(lambda: not processes_naming(place))
        with embedded.start(place / "data", durable=False) as servers:
            assert servers.warnings == ()

    def test_a_fork_of_it_holds_neither_servers_nor_lock(self, place: Path, other_process: StartOther):
        other = other_process(place / "data", "in-thread", "with-fork")
        fork = int(line(other))
        assert line(other) == "ready"
        other.kill()
        other.wait()
        try:
            with embedded.start(place / "data", durable=False) as servers:
                assert ask(servers.app_url, "SELECT 1") == (1,)
                os.kill(fork, 0)
        finally:
            os.kill(fork, signal.SIGKILL)

    def test_an_interrupt_from_the_terminal_reaches_the_parent_alone(self, place: Path, other_process: StartOther):
        other = other_process(place / "data")
        assert line(other) == "ready"
        os.killpg(other.pid, signal.SIGINT)
        assert line(other) == "still here 1"
        assert other.wait() == 0


class TestAfterACrash:
    def test_a_stranger_with_the_old_number_lives_and_the_server_starts(self, place: Path, account):
        data = place / "data"
        embedded.start(data, durable=False).stop()
        # Of the same account: PostgreSQL itself sees through a stranger of another.
        with subprocess.Popen(["sleep", "120"], **account.spawn_options()) as stranger:
            leave_pid_files(data, stranger.pid)
            try:
                with embedded.start(data, durable=False) as servers:
                    assert ask(servers.app_url, "SELECT 1") == (1,)
                assert stranger.poll() is None
            finally:
                stranger.kill()

    def test_a_start_that_was_killed_halfway_is_begun_again(self, place: Path):
        unfinished = place / "data" / "postgres-unfinished"
        unfinished.mkdir(parents=True)
        (unfinished / "PG_VERSION").write_text("18\n")
        (place / "data").chmod(0o711)
        with embedded.start(place / "data", durable=False) as servers:
            assert ask(servers.app_url, "SELECT 1") == (1,)
        assert not unfinished.exists()


def leave_pid_files(data: Path, pid: int) -> None:
    """Leave what a PostgreSQL leaves that had no time to clean up, with this number in it."""
    cluster = data / "postgres"
    sockets = data / "run"
    text = f"{pid}\n{cluster}\n1700000000\n5432\n{sockets}\n\n        1        1\nready   \n"
    for file in (cluster / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        file.write_text(text)
        os.chown(file, cluster.stat().st_uid, cluster.stat().st_gid)
        file.chmod(0o600)


class TestWhatIsRefused:
    def test_a_cluster_of_another_major_version(self, place: Path):
        cluster = place / "data" / "postgres"
        cluster.mkdir(parents=True)
        (cluster / "PG_VERSION").write_text("15\n")
        with pytest.raises(SetupError, match=r"written by PostgreSQL 15 and this is PostgreSQL \d\d.*pg_dump"):
            embedded.start(place / "data", durable=False)

    def test_a_folder_of_something_else(self, place: Path):
        (place / "data" / "postgres").mkdir(parents=True)
        (place / "data" / "postgres" / "thesis.tex").touch()
        with pytest.raises(SetupError, match="neither empty nor a PostgreSQL cluster"):
            embedded.start(place / "data", durable=False)
        assert (place / "data" / "postgres" / "thesis.tex").exists()

    @as_root
    def test_a_folder_that_the_server_account_cannot_reach_is_named_and_stays_closed(self, place: Path):
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(SetupError, match=rf"{closed} is closed to that user; set CLOISTER_DATA_DIR"):
            embedded.start(closed / "data", durable=False)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    def test_a_refusal_gives_the_folder_back(self, place: Path):
        (place / "data" / "postgres").mkdir(parents=True)
        (place / "data").chmod(0o711)
        (place / "data" / "postgres" / "thesis.tex").touch()
        with contextlib.suppress(SetupError):
            embedded.start(place / "data", durable=False)
        (place / "data" / "postgres" / "thesis.tex").unlink()
        with embedded.start(place / "data", durable=False) as servers:
            assert ask(servers.app_url, "SELECT 1") == (1,)


def test_without_valkey_the_rest_starts_and_says_so(place: Path):
    (place / "data" / "run" / VALKEY_SOCKET).mkdir(parents=True)  # in the way of its socket
    (place / "data").chmod(0o711)
    with embedded.start(place / "data", durable=False) as servers:
        assert servers.redis_url is None
        assert len(servers.warnings) == 1
        assert servers.warnings[0].startswith("Valkey does not run, so nothing is cached: valkey-server ended")
        assert embedded.attach(place / "data") == servers.endpoints
        assert ask(servers.app_url, "SELECT 1") == (1,)
