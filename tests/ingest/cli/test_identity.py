import os

from ingest.cli import identity


def test_the_account_is_the_one_that_runs_and_not_what_the_environment_says(monkeypatch):
    for name in ("USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert identity._account() not in {"", "somebody-else"}


def test_an_account_without_a_name_is_its_number(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert identity._account() == "4000000000"
