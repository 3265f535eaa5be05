import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.embedded import leash

SERVER = ["/bin/sh", "-c", "trap 'echo interrupted; exit 7' INT; echo $$; while :; do sleep 0.05; done"]


def held(mode: str, parent: int) -> "subprocess.Popen[str]":
    arguments = [mode, parent, int(signal.SIGINT), os.geteuid(), os.getegid()]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, *map(str, arguments), *SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def by_pipe() -> Iterator["subprocess.Popen[str]"]:
    with held("pipe", os.getpid()) as process:
        yield process
        process.kill()


def test_the_server_gets_its_signal_when_the_pipe_ends(by_pipe):
    assert int(by_pipe.stdout.readline()) != by_pipe.pid
    by_pipe.stdin.close()
    assert by_pipe.stdout.readline() == "interrupted\n"
    assert by_pipe.wait() == 7


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_whatever_asks_the_watchdog_to_end_asks_the_server_in_its_own_way(by_pipe, sent):
    by_pipe.stdout.readline()
    by_pipe.send_signal(sent)
    assert by_pipe.stdout.readline() == "interrupted\n"
    assert by_pipe.wait() == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
class TestByKernel:
    def test_the_server_is_the_child_itself(self):
        with held("kernel", os.getpid()) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == process.pid
            process.send_signal(signal.SIGINT)
            assert process.wait() == 7

    def test_it_does_not_start_for_a_parent_that_is_gone(self):
        with held("kernel", os.getpid() + 1) as process:
            assert process.stdout is not None
            assert process.stdout.read() == "the parent died first\n"
            assert process.wait() == 1


def test_it_needs_nothing_but_the_standard_library():
    text = Path(leash.__file__).read_text("utf-8")
    assert "import rag" not in text
    assert "from rag" not in text
