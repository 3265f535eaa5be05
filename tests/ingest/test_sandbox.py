import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.sandbox import MIB, Sandbox
from rag.errors import InterruptedDocument, UnreadableDocument

DOCUMENT = b"# Title\n\nSome words.\n"
# libxml2 compares each attribute with all before it: minutes of CPU from two megabytes.
HANGS = b"<html><p " + b" ".join(b"a%d=1" % n for n in range(200_000)) + b">x</p>"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = Sandbox(timeout=2)
    yield opened
    await opened.close()


async def assert_reads(sandbox: Sandbox) -> None:
    parsed = await sandbox.partition(DOCUMENT, filename="a.md")
    assert (parsed.media_type, parsed.title) == ("text/markdown", "Title")
    assert [element.text for element in parsed.elements] == ["Title", "Some words."]


async def test_a_child_is_kept_for_the_next_document(sandbox: Sandbox) -> None:
    assert sandbox.pids == []
    await assert_reads(sandbox)
    first = sandbox.pids
    await assert_reads(sandbox)
    assert sandbox.pids == first
    assert len(first) == 1


async def test_a_refusal_of_the_parser_comes_back_whole_and_the_child_stays(sandbox: Sandbox) -> None:
    with pytest.raises(UnreadableDocument) as refusal:
        await sandbox.partition(b"PK\x03\x04", filename="a.docx")
    assert refusal.value.reason == "unsupported_format"
    assert "ZIP" in refusal.value.message
    assert refusal.value.hint
    assert len(sandbox.pids) == 1


async def test_a_document_that_hangs_is_given_up_and_the_next_one_works(sandbox: Sandbox) -> None:
    await assert_reads(sandbox)
    (hung,) = sandbox.pids
    with pytest.raises(UnreadableDocument) as refusal:
        await sandbox.partition(HANGS)
    assert refusal.value.reason == "parse_timeout"
    assert not is_running(hung)
    await assert_reads(sandbox)


async def test_a_child_has_a_bound_on_cpu_of_its_own() -> None:
    sandbox = Sandbox(timeout=120)
    await assert_reads(sandbox)
    (pid,) = sandbox.pids
    used = cpu_ticks(pid) // os.sysconf("SC_CLK_TCK")
    assert used < cpu_bound(pid) <= used + 122
    await sandbox.close()


async def test_a_document_that_needs_too_much_memory_is_refused_and_the_next_one_works() -> None:
    sandbox = Sandbox(memory_bytes=400 * MIB)
    with pytest.raises(UnreadableDocument) as refusal:
        await sandbox.partition(b"<p>word word word</p>\n" * 400_000, declared="text/html")
    assert refusal.value.reason == "parse_memory"
    assert sandbox.pids == []
    await assert_reads(sandbox)
    await sandbox.close()


async def test_a_child_killed_from_outside_interrupts_its_document_only(sandbox: Sandbox) -> None:
    await assert_reads(sandbox)
    (victim,) = sandbox.pids
    document = asyncio.create_task(sandbox.partition(HANGS))
    await asyncio.sleep(0.2)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(InterruptedDocument) as interruption:
        await document
    assert interruption.value.transient
    await assert_reads(sandbox)


async def test_a_child_that_crashes_condemns_its_document(sandbox: Sandbox) -> None:
    await assert_reads(sandbox)
    document = asyncio.create_task(sandbox.partition(HANGS))
    await asyncio.sleep(0.2)
    os.kill(sandbox.pids[0], signal.SIGSEGV)
    with pytest.raises(UnreadableDocument) as refusal:
        await document
    assert refusal.value.reason == "parse_crashed"
    await assert_reads(sandbox)


async def test_an_idle_child_that_died_is_replaced(sandbox: Sandbox) -> None:
    await assert_reads(sandbox)
    (victim,) = sandbox.pids
    os.kill(victim, signal.SIGKILL)
    await asyncio.sleep(0.3)  # for the event loop to hear of it
    await assert_reads(sandbox)
    assert victim not in sandbox.pids


async def test_a_cancelled_document_frees_its_child(sandbox: Sandbox) -> None:
    await assert_reads(sandbox)
    (busy,) = sandbox.pids
    document = asyncio.create_task(sandbox.partition(HANGS))
    await asyncio.sleep(0.2)
    document.cancel()
    with pytest.raises(asyncio.CancelledError):
        await document
    assert not is_running(busy)
    await assert_reads(sandbox)


async def test_children_work_side_by_side_up_to_their_number() -> None:
    sandbox = Sandbox(children=2)
    parsed = await asyncio.gather(*(sandbox.partition(DOCUMENT, filename="a.md") for _ in range(6)))
    assert {result.title for result in parsed} == {"Title"}
    assert len(sandbox.pids) == 2
    await sandbox.close()
    assert sandbox.pids == []


async def test_a_child_is_replaced_after_its_share_of_documents() -> None:
    sandbox = Sandbox(documents_per_child=2)
    pids = []
    for _ in range(3):
        await assert_reads(sandbox)
        pids.append(list(sandbox.pids))
    assert pids[0] != []
    assert pids[1] == []
    assert pids[2] not in ([], pids[0])
    await sandbox.close()


async def test_a_child_sees_nothing_of_our_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-secret")
    await assert_reads(sandbox)
    assert b"a-secret" not in environment_of(sandbox.pids[0])


async def test_an_idle_child_uses_no_cpu(sandbox: Sandbox) -> None:
    await assert_reads(sandbox)
    before = cpu_ticks(sandbox.pids[0])
    await asyncio.sleep(0.5)
    assert cpu_ticks(sandbox.pids[0]) == before


def test_children_die_with_their_parent_even_when_it_is_killed() -> None:
    program = """
import asyncio, sys
from ingest.sandbox import Sandbox
async def main():
    sandbox = Sandbox()
    await sandbox.partition(b"words", filename="a.txt")
    print(*sandbox.pids, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
        parent.wait()
    for _ in range(200):
        if not is_running(child):
            return
        os.sched_yield()
        signal.sigtimedwait([], 0.05)
    pytest.fail("the child outlived its parent")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def cpu_ticks(pid: int) -> int:
    return sum(int(field) for field in Path(f"/proc/{pid}/stat").read_text().split()[13:15])


def cpu_bound(pid: int) -> int:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Max cpu time")).split()[3])


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()
