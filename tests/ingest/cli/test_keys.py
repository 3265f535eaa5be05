"""`cloister key`, on a database of its own."""

import json

import pytest
from click.testing import CliRunner, Result

from ingest.cli.keys import key
from rag.errors import Conflict, InvalidInput, NotFound
from rag.settings import Settings


@pytest.fixture
def cloister(settings: Settings, monkeypatch):
    """Run a command of `cloister key`; raises what it would say on stderr."""
    monkeypatch.setenv("DATABASE_URL", settings.secret("database_url"))
    monkeypatch.setenv("CLOISTER_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("REDIS_URL", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(key, arguments, catch_exceptions=False)

    return run


@pytest.fixture
def slug(settings: Settings, monkeypatch) -> str:
    from ingest.cli.tenants import tenant

    monkeypatch.setenv("DATABASE_URL", settings.secret("database_url"))
    assert CliRunner().invoke(tenant, ["create", "acme"], catch_exceptions=False).exit_code == 0
    return "acme"


def made(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_publishable_key_comes_with_its_signing_secret(cloister, slug):
    options = ["--origins", "https://shop.example,http://localhost:3000", "--collections", "shop"]
    found = made(cloister("create", "--tenant", slug, "--kind", "publishable", *options, "--name", "web", "--json"))
    assert str(found["key"]).startswith("clo_pk_")
    assert str(found["signing_secret"]).startswith("clo_ws_")
    (entry,) = json.loads(cloister("list", "--tenant", slug, "--json").stdout)
    assert (entry["origins"], entry["collections"]) == (["http://localhost:3000", "https://shop.example"], ["shop"])
    assert "clo_ws_" not in json.dumps(entry)


def test_only_the_key_itself_goes_to_stdout(cloister, slug):
    result = cloister("create", "--tenant", slug, "--kind", "publishable")
    assert result.stdout.strip().startswith("clo_pk_")
    assert len(result.stdout.split()) == 1
    assert "clo_ws_" in result.stderr


def test_a_secret_key_has_no_signing_secret(cloister, slug):
    assert "signing_secret" not in made(cloister("create", "--tenant", slug, "--json"))


def test_a_key_is_rotated_with_an_overlap(cloister, slug):
    first = made(cloister("create", "--tenant", slug, "--groups", "staff", "--json"))
    result = cloister("rotate", str(first["key_id"]), "--tenant", slug, "--overlap", "2h", "--json")
    second = made(result)
    assert second["rotated_from"] == first["key_id"]
    assert second["key"] != first["key"]
    listing = {entry["key_id"]: entry for entry in json.loads(cloister("list", "--tenant", slug, "--json").stdout)}
    assert listing[first["key_id"]]["expires_at"] == second["rotated_from_ends_at"]
    assert listing[second["key_id"]]["groups"] == ["staff"]
    assert "rotated" in cloister("list", "--tenant", slug).stdout
    with pytest.raises(Conflict):
        cloister("rotate", str(first["key_id"]), "--tenant", slug)


def test_an_operators_key_is_made_listed_rotated_and_revoked(cloister):
    first = made(cloister("create", "--kind", "operator", "--json"))
    second = made(cloister("rotate", str(first["key_id"]), "--overlap", "0m", "--json"))
    assert str(second["key"]).startswith("clo_op_")
    assert cloister("revoke", str(second["key_id"])).exit_code == 0
    states = {entry["key_id"]: entry for entry in json.loads(cloister("list", "--json").stdout)}
    assert states[second["key_id"]]["revoked_at"]
    table = cloister("list").stdout
    assert "expired" in table
    assert "revoked" in table


def test_another_tenants_key_is_not_found(cloister, slug):
    operator = made(cloister("create", "--kind", "operator", "--json"))
    with pytest.raises(NotFound):
        cloister("rotate", str(operator["key_id"]), "--tenant", slug)


@pytest.mark.parametrize(
    "line",
    [
        "create --tenant acme --origins https://a.example",
        "create --kind operator --collections kb",
        "rotate 00000000-0000-4000-8000-000000000000 --tenant acme --overlap soon",
        "rotate 00000000-0000-4000-8000-000000000000 --overlap -1h",
        "rotate not-an-id",
    ],
)
def test_wrong_usage_exits_with_2(cloister, line):
    assert cloister(*line.split()).exit_code == 2


@pytest.mark.parametrize("wrong", [["--origins", "null"], ["--origins", "https://a.example/"], ["--groups", "*"]])
def test_what_a_publishable_key_cannot_have_is_refused(cloister, slug, wrong):
    with pytest.raises(InvalidInput):
        cloister("create", "--tenant", slug, "--kind", "publishable", *wrong)
