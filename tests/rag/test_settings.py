from pathlib import Path

import msgspec
import pytest

from rag.errors import SetupError
from rag.settings import ENVIRONMENT, Secret, Settings, default_data_dir, load_settings

DATA = {"CLOISTER_DATA_DIR": "/data"}


def test_with_nothing_set_one_machine_is_served():
    settings = load_settings({})
    assert settings == Settings(data_dir=default_data_dir())
    assert settings.embedded
    assert settings.host == "127.0.0.1", "open to the world is a decision"


def test_each_field_has_its_variable():
    assert ENVIRONMENT.keys() == set(Settings.__struct_fields__)
    assert len(set(ENVIRONMENT.values())) == len(ENVIRONMENT)
    assert ENVIRONMENT["pool_size"] == "CLOISTER_POOL_SIZE"
    assert ENVIRONMENT["database_url"] == "DATABASE_URL"


def test_values_are_read_as_what_they_are():
    settings = load_settings(
        {
            "CLOISTER_PORT": "8080",
            "CLOISTER_DENSE_WEIGHT": "0.5",
            "CLOISTER_PUBLIC_URL": "https://a.example",
            "CLOISTER_DATA_DIR": "~/data/../data",
            "DATABASE_URL": "postgresql://x",
        }
    )
    assert (settings.port, settings.dense_weight, settings.public_url) == (8080, 0.5, "https://a.example")
    assert settings.data_dir == (Path.home() / "data").resolve()
    assert settings.database_url.reveal() == "postgresql://x"
    assert not settings.embedded


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLOISTER_PORT", "eighty"),
        ("CLOISTER_PORT", "80.5"),
        ("CLOISTER_DENSE_WEIGHT", "heavy"),
        ("CLOISTER_POOL_SIZE", "many"),
    ],
)
def test_a_value_that_does_not_parse_is_named(variable, value):
    with pytest.raises(SetupError, match=variable):
        load_settings({variable: value})


@pytest.mark.parametrize(
    ("value", "languages"), [("english", {"english"}), ("english, german", {"english", "german"}), ("*", {"*"})]
)
def test_the_encoder_s_languages_are_a_list(value, languages):
    assert load_settings({"CLOISTER_ENCODER_LANGUAGES": value}).read_languages == languages


NUMBERS = [f.name for f in msgspec.structs.fields(Settings) if isinstance(f.default, int | float)]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_checked(name):
    with pytest.raises(SetupError, match=ENVIRONMENT[name]):
        load_settings({ENVIRONMENT[name]: "x"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLOISTER_LOG_LEVEL", "loud"),
        ("CLOISTER_LOG_FORMAT", "xml"),
        ("CLOISTER_PORT", "70000"),
        ("CLOISTER_POOL_SIZE", "0"),
        ("CLOISTER_DENSE_WEIGHT", "7"),
        ("CLOISTER_REFUSAL_THRESHOLD", "-1"),
        ("CLOISTER_WORKER_CONCURRENCY", "0"),
        ("CLOISTER_REQUEST_TIMEOUT_S", "nan"),
        ("CLOISTER_MAX_BODY_BYTES", "-1"),
    ],
)
def test_a_value_that_makes_no_sense_ends_the_start_and_not_the_first_request(variable, value):
    with pytest.raises(SetupError, match=variable):
        load_settings({variable: value})


def test_an_empty_variable_is_not_set():
    assert load_settings({"DATABASE_URL": "", "CLOISTER_PORT": ""}).port == 8000
    assert load_settings({"DATABASE_URL": ""}).embedded


def test_any_value_may_come_from_a_file(tmp_path):
    file = tmp_path / "url"
    file.write_text("postgresql://from-a-file\n", "utf-8")
    settings = load_settings({"DATABASE_URL_FILE": str(file), "DATABASE_URL": "postgresql://not-this"})
    assert settings.secret("database_url") == "postgresql://from-a-file"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SetupError, match="DATABASE_URL_FILE"):
        load_settings({"DATABASE_URL_FILE": str(tmp_path / "gone")})


def test_a_secret_shows_itself_only_when_asked():
    settings = load_settings({**DATA, "DATABASE_URL": "postgresql://u:pass-1@h/d", "CLOISTER_METRICS_TOKEN": "pass-2"})
    shown = f"{settings} {settings!r} {settings.database_url} {settings.database_url!r} {[settings.metrics_token]}"
    assert "pass" not in shown
    assert settings.secret("metrics_token") == "pass-2"
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)


def test_a_secret_that_must_be_there_is_asked_for_by_its_variable():
    with pytest.raises(SetupError, match="MIGRATION_DATABASE_URL"):
        load_settings(DATA).secret("migration_database_url")


def test_every_secret_is_kept_as_one():
    named = [name for name in Settings.__struct_fields__ if re_secret(name)]
    kinds = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    assert named
    assert {kinds[name] for name in named} == {Secret | None}


def re_secret(name: str) -> bool:
    return name.endswith(("_token", "_key", "_password", "database_url", "redis_url"))


def test_the_data_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "cloister"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_data_dir() == Path.home() / ".local" / "share" / "cloister"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/cloister")


def test_approvals_are_required_wherever_the_database_is_not_embedded():
    database = {"DATABASE_URL": "postgresql://x"}
    cases = [({}, False), (database, True)]
    cases += [
        ({**each, "CLOISTER_APPROVALS": mode}, mode == "required") for each, _ in cases for mode in ("off", "required")
    ]
    assert [load_settings(given).approvals_required for given, _ in cases] == [wanted for _, wanted in cases]
    with pytest.raises(SetupError, match="CLOISTER_APPROVALS"):
        load_settings({"CLOISTER_APPROVALS": "sometimes"})
