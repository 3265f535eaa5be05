"""The running system, from outside: `cloister up`, two tenants over HTTP, and an end that leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RETURNS = "# Returns\n\nA zebrafork can be returned within 41 days of delivery when it is unused.\n"
VAULT = "# Vault\n\nThe vault of Quillhaven opens at half past four in the morning.\n"


@dataclass
class System:
    """A Cloister of its own, in a folder of its own, on a port of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[str]

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run_cli(self.folder, *arguments, check=check)

    def http(self, method: str, path: str, key: str | None = None, body: object = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - our own address
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def put(self, key: str, external_id: str, markdown: str) -> None:
        status, body = self.http("PUT", f"/v1/collections/kb/documents/{external_id}", key, {"markdown": markdown})
        assert status == 202, body
        wait_for(lambda: self.http("GET", f"/v1/jobs/{body['job_id']}", key)[1]["status"] == "succeeded")

    def end(self) -> None:
        """Wait until the process is gone, and with it everything that it had started."""
        self.process.communicate(timeout=60)
        wait_for(lambda: not servers_of(self.folder))


def run_cli(
    folder: Path, *arguments: str, check: bool = True, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CLOISTER_DATA_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "ingest.cli", *arguments],
        env=environment, text=True, capture_output=True, check=check, timeout=seconds,
    )  # fmt: skip


def wait_for(holds: Any, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def start_system(folder: Path) -> System:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "ingest.cli", "up", "--port", str(port)],
        env={**os.environ, "CLOISTER_DATA_DIR": str(folder)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert f":{port}" in process.stdout.readline()
    return System(folder, port, process)


def servers_of(folder: Path) -> list[str]:
    """The command lines of the processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if line and (str(folder) in line or f"CLOISTER_DATA_DIR={folder}" in environment):
                found.append(line)
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # Below /var/tmp: the account that PostgreSQL runs as must be able to pass, which pytest's own folder forbids.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cloister-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def system(folder: Path) -> Iterator[System]:
    running = start_system(folder)
    yield running
    running.process.terminate()
    running.end()


def test_two_tenants_over_http(system: System):
    keys = {}
    for slug in ("acme", "bolt"):
        system.cli("tenant", "create", slug)
        made = system.cli("key", "create", "--tenant", slug, "--scopes", "search,answer,ingest,manage", "--json")
        keys[slug] = json.loads(made.stdout)["key"]
        assert system.http("POST", "/v1/collections", keys[slug], {"name": "kb"})[0] == 201
    system.put(keys["acme"], "returns", RETURNS)
    system.put(keys["bolt"], "vault", VAULT)

    status, answer = system.http(
        "POST", "/v1/answers", keys["acme"], {"question": "How many days do I have to return a zebrafork?"}
    )
    assert status == 200
    assert answer["status"] == "answered"
    assert "41" in answer["text"]
    assert all(sentence["citations"] for sentence in answer["sentences"])

    status, refused = system.http(
        "POST", "/v1/answers", keys["acme"], {"question": "When does the vault of Quillhaven open?"}
    )
    assert status == 200
    assert refused["refusal"]["code"] in {"thin_context", "no_results"}
    assert "half past four" not in json.dumps(refused)

    for path in (f"/v1/answers/{answer['id']}", "/v1/collections/kb/documents/returns"):
        assert system.http("GET", path, keys["acme"])[0] == 200
        theirs = system.http("GET", path, keys["bolt"])
        absent = system.http("GET", path[:-4] + "0000", keys["bolt"])
        assert theirs[0] == absent[0] == 404
        assert theirs[1]["code"] == absent[1]["code"] == "not_found"

    asked = system.cli("ask", "How many days do I have to return a zebrafork?", "--tenant", "acme")
    assert "41 days" in asked.stdout
    assert "[1]" in asked.stdout

    second = run_cli(system.folder, "up", check=False)
    assert second.returncode == 1
    assert str(system.process.pid) in second.stderr


def test_a_second_start_keeps_the_data_and_a_killed_parent_leaves_no_server(folder: Path):
    first = start_system(folder)
    first.cli("tenant", "create", "acme")
    first.process.send_signal(signal.SIGINT)
    first.end()

    again = start_system(folder)
    assert [t["slug"] for t in json.loads(again.cli("tenant", "list", "--json").stdout)] == ["acme"]
    again.process.kill()
    again.end()


def test_a_load_with_a_dead_letter_exits_with_3_and_says_why(folder: Path, tmp_path: Path):
    (tmp_path / "good.md").write_text(RETURNS)
    (tmp_path / "bad.md").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    run_cli(folder, "tenant", "create", "acme")
    loaded = run_cli(folder, "ingest", str(tmp_path), "--tenant", "acme", "--json", check=False)
    assert loaded.returncode == 3, loaded.stderr
    report = json.loads(loaded.stdout)
    assert report["succeeded"] == 1
    (letter,) = report["dead"]
    assert letter["external_id"] == "bad.md"
    assert letter["error"]["code"]
    assert letter["error"]["hint"]
    again = json.loads(run_cli(folder, "ingest", str(tmp_path / "good.md"), "--tenant", "acme", "--json").stdout)
    assert (again["succeeded"], again["unchanged"]) == (0, 1)
