"""The command line in this process, on the test's own database."""

from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest
from click.testing import CliRunner, Result

from ingest.cli import cli
from rag.settings import Settings

Cloister = Callable[..., Result]


@pytest.fixture
def cloister(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Cloister:
    """Run a command; `status` is what it has to end with, and `key` the operator that it is run by."""
    monkeypatch.setenv("DATABASE_URL", settings.secret("database_url"))
    monkeypatch.setenv("CLOISTER_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("CLOISTER_OPERATOR_KEY", raising=False)

    def run(line: str, *, status: int = 0, key: str | None = None) -> Result:
        result = CliRunner().invoke(cli, line.split(), env={"CLOISTER_OPERATOR_KEY": key})
        ended = result.exit_code if not result.exception or isinstance(result.exception, SystemExit) else -1
        assert ended == status, (line, result.output, result.exception)
        return result

    return run


@pytest.fixture
def in_json() -> Callable[[Result], Any]:
    """What a command printed for a program."""
    return lambda result: msgspec.json.decode(result.stdout)


@pytest.fixture
def tamper(settings: Settings, servers: Any) -> Callable[[str], None]:
    """Change the trail as the superuser, past its triggers."""

    def run(text: str) -> None:
        name = settings.secret("database_url").split("/")[-1].split("?")[0]
        with psycopg.connect(servers.admin_url, dbname=name, autocommit=True) as admin:
            admin.execute("ALTER TABLE cloister.audit_events DISABLE TRIGGER ALL")
            admin.execute("ALTER TABLE cloister.audit_chains DISABLE TRIGGER ALL")
            admin.execute(text)

    return run
