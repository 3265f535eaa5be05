import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def run(settings):
    def call(*arguments, code=0):
        environment = {**os.environ, "DATABASE_URL": settings.secret("database_url")}
        done = subprocess.run(
            [sys.executable, "-m", "ingest.cli", *arguments],
            env=environment, text=True, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout

    return call


def test_limits_are_set_and_shown(run):
    run("tenant", "create", "acme")
    changed = json.loads(run("tenant", "limits", "acme", "--key-units", "6000", "--concurrency", "0", "--json"))
    assert changed == {"tenant_units": None, "key_units": 6000, "user_units": None, "concurrency": 0}
    run("tenant", "limits", "acme", "--key-units", "default", "--user-units", "5")
    shown = run("tenant", "limits", "acme")
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["tenant_units", "default"],
        ["key_units", "default"],
        ["user_units", "5"],
        ["concurrency", "0"],
    ]


def test_a_limit_that_is_none_is_wrong_usage(run):
    for value in ("-1", "many", "10000001"):
        run("tenant", "limits", "acme", "--key-units", value, code=2)
    run("tenant", "limits", "nobody", code=1)
