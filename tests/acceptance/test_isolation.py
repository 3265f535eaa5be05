"""`cloister verify-isolation` as it is run: beside `cloister up`, and ended in the middle."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.test_running_system import System, folder, run_cli, system

__all__ = ["folder", "system"]  # the fixtures


@contextmanager
def begun(folder: Path, until: str) -> Iterator[subprocess.Popen[str]]:
    """A check that has come as far as to say this."""
    with subprocess.Popen(
        [sys.executable, "-m", "ingest.cli", "verify-isolation", "--json"],
        env={**os.environ, "CLOISTER_DATA_DIR": str(folder)}, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert any(until in line for line in process.stderr), "it ended and never said so"
        yield process


def tenants(system: System) -> list[str]:
    return [tenant["slug"] for tenant in json.loads(system.cli("tenant", "list", "--json").stdout)]


@pytest.mark.timeout(900)
def test_a_running_installation_leaks_nothing_and_keeps_nothing_of_the_check(system: System):
    system.cli("tenant", "create", "acme")

    with begun(system.folder, "search: search") as killed:
        killed.kill()
    assert len(tenants(system)) == 3
    with begun(system.folder, "search: search") as stopped:
        stopped.send_signal(signal.SIGINT)
        stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert tenants(system) == ["acme"]

    whole = run_cli(system.folder, "verify-isolation", "--json", check=False, seconds=240)
    report = json.loads(whole.stdout)
    assert report["findings"] == []
    assert whole.returncode == 0, whole.stderr
    counts = {door["door"]: door["attempts"] for door in report["doors"]}
    assert report["attempts"] == sum(counts.values()) > 800
    assert {door for door, attempts in counts.items() if not attempts} <= {"exports", "streams"}
    assert {"search", "cache", "credentials", "command line", "database", "statements"} <= counts.keys()
    assert tenants(system) == ["acme"]


def test_without_a_service_it_says_so(folder: Path):
    failed = run_cli(folder, "verify-isolation", "--url", "http://127.0.0.1:1", check=False)
    assert failed.returncode == 1
    assert "no service answers at http://127.0.0.1:1" in failed.stderr
    assert run_cli(folder, "verify-isolation", "--nonsense", check=False).returncode == 2
