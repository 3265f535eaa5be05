"""The command line's own promises: quick help, exit codes, errors in a sentence."""

import os
import resource
import subprocess
import sys

import pytest

from ingest.cli import _COMMANDS

QUICK_CPU_S = 0.3


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingest.cli", *arguments],
        env={**os.environ, **environment}, text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip


def test_help_lists_every_command_without_importing_one():
    listing = run("--help")
    assert listing.returncode == 0
    assert all(f"  {name} " in listing.stdout for name in _COMMANDS)
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, ingest.cli; print(*sys.modules)"],
        text=True, capture_output=True, check=True,
    ).stdout.split()  # fmt: skip
    heavy = {"litestar", "psycopg", "procrastinate", "onnxruntime", "unstructured", "numpy", "redis", "granian"}
    assert not heavy & set(loaded)


def test_help_costs_little_processor_time():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, not the clock's; the bound is the promise, several times what it takes.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < QUICK_CPU_S


@pytest.mark.parametrize("command", list(_COMMANDS))
def test_each_command_explains_itself(command: str):
    explained = run(command, "--help")
    assert explained.returncode == 0
    assert "Usage" in explained.stdout


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "ingest",
        "ingest /nowhere --tenant a",
        "tenant create",
        "key create",
        "key create --kind operator --tenant a",
        "search x",
        "jobs show not-an-id --tenant a",
    ],
)
def test_wrong_usage_exits_with_2(line: str):
    assert run(*line.split()).returncode == 2


def test_an_error_is_a_sentence_and_exit_code_1():
    failed = run("tenant", "list", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: PostgreSQL does not answer")
    assert "Traceback" not in failed.stderr


def test_a_setting_that_does_not_parse_is_named():
    failed = run("tenant", "list", CLOISTER_PORT="eighty")
    assert failed.returncode == 1
    assert "CLOISTER_PORT" in failed.stderr
