import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag import embedded
from rag.embedded.account import Account, server_account

DEADLINE_S = 20.0

RUN_SERVERS = """
import sys, threading, time
from pathlib import Path
from rag import embedded

def run(how):
    embedded_servers.append(embedded.start(Path(sys.argv[1]), durable=False))

embedded_servers = []
if "in-thread" in sys.argv:
    starter = threading.Thread(target=run, args=("thread",))
    starter.start()
    starter.join()
else:
    run("main")
servers = embedded_servers[0]
if "with-fork" in sys.argv:
    import os
    fork = os.fork()
    if fork == 0:
        time.sleep(120)
        os._exit(0)
    print(fork, flush=True)
try:
    print("ready", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    import psycopg
    with psycopg.connect(servers.app_url) as connection:
        print("still here", connection.execute("SELECT 1").fetchone()[0], flush=True)
    servers.stop()
"""


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _processes_naming(path: Path) -> list[str]:
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    rows = [row.strip() for row in listed.stdout.splitlines() if str(path) in row]
    return [row for row in rows if int(row.split()[0]) != os.getpid()]


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Wait for a condition; False if it does not come true in time."""
    return _eventually


@pytest.fixture
def processes_naming() -> Callable[[Path], list[str]]:
    """List the live processes, but this one, whose arguments hold a path: servers, watchdogs, their parents."""
    return _processes_naming


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server account can reach: pytest's tmp_path is closed to it when root runs the tests."""
    root = Path(tempfile.mkdtemp(prefix="c-")).resolve()
    root.chmod(0o711)
    yield root
    assert _eventually(lambda: not _processes_naming(root))
    shutil.rmtree(root)


@pytest.fixture
def account(place: Path) -> Account:
    return server_account(place / "no-cluster-yet")


@pytest.fixture
def other_process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run the servers of a data folder in another process, which is ready when this returns."""
    started: list[subprocess.Popen[str]] = []

    def start(data_dir: Path, *how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN_SERVERS, str(data_dir), *how],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=Path(embedded.__file__).parents[2],
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
