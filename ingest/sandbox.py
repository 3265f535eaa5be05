"""Parsing in child processes that may hang, swell or crash without harm to the worker.

A child is started when first needed, kept for the documents that follow (the parser's import costs two CPU
seconds) and replaced after a number of documents, when it has grown, or when a document was too much for it.
It has a bound on memory and CPU time, no environment of ours, may write no file, and dies with its parent.
Run as a module, this file is the child.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import IO, Final

import msgspec

from ingest.partition import Partition, partition, sniff, warm_up
from rag.errors import DocumentError, InterruptedDocument, UnreadableDocument

MIB: Final = 1 << 20
_LENGTH_BYTES: Final = 8
_LARGEST_REPLY: Final = 64 * MIB
_START_SECONDS: Final = 60.0
_EXIT_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
# Signals that a document cannot bring about: somebody, or the kernel short of memory, ended the child.
_FROM_OUTSIDE: Final = frozenset((-signal.SIGKILL, -signal.SIGTERM))
_INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "TZ")


class _Task(msgspec.Struct, frozen=True, array_like=True):
    data: bytes
    declared: str | None
    filename: str | None
    cpu_seconds: int


class _Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class _Parsed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    partition: Partition
    resident_bytes: int


class _Failed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    code: str
    message: str
    hint: str
    reusable: bool


_Reply = _Ready | _Parsed | _Failed
_REPLIES: Final[msgspec.msgpack.Decoder[_Reply]] = msgspec.msgpack.Decoder(_Reply)
_TASKS: Final = msgspec.msgpack.Decoder(_Task)


class Sandbox:
    """A pool of parsing children, used from one event loop; `children` documents are parsed at a time.

    `timeout` is seconds per document, of wall time and of CPU; `memory_bytes` bounds a child's address space. A
    child is replaced after `documents_per_child` documents, or when its resident memory is over half the bound.
    Children die with the thread that runs the event loop. Whoever made it closes it.
    """

    def __init__(
        self,
        *,
        children: int = 1,
        timeout: float = 60.0,
        memory_bytes: int = 2048 * MIB,
        documents_per_child: int = 500,
    ) -> None:
        self._slots = asyncio.Semaphore(children)
        self._timeout = timeout
        self._memory_bytes = memory_bytes
        self._documents_per_child = documents_per_child
        self._idle: list[_Child] = []
        self._alive: set[_Child] = set()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children, idle ones and busy ones."""
        return sorted(child.pid for child in self._alive)

    async def partition(self, data: bytes, *, declared: str | None = None, filename: str | None = None) -> Partition:
        """Sniff a document's format and take it apart; waits for a free child.

        Raises UnreadableDocument with the codes of `ingest.partition` or with `parse_timeout`, `parse_memory`,
        `parse_crashed`, `parse_failed`, `parse_output`; InterruptedDocument when the child was ended from outside
        or could not be started.
        """
        task = _Task(data, declared, filename, max(1, round(self._timeout)))
        async with self._slots:
            child = await self._idle_child() or await self._start()
            try:
                reply = await child.work(task, timeout=self._timeout)
            except BaseException:
                await asyncio.shield(self._end(child))
                raise
            await self._keep_or_end(child, reply)
        if isinstance(reply, _Failed):
            raise UnreadableDocument(reply.message, code=reply.code, hint=reply.hint)
        return reply.partition

    async def close(self) -> None:
        """End every child, busy ones too."""
        self._idle.clear()
        await asyncio.gather(*(self._end(child) for child in list(self._alive)))

    async def _idle_child(self) -> "_Child | None":
        while self._idle:
            child = self._idle.pop()
            if child.is_running:
                return child
            await self._end(child)
        return None

    async def _start(self) -> "_Child":
        child = await _Child.start(self._memory_bytes)
        self._alive.add(child)
        try:
            await child.await_ready()
        except BaseException:
            await asyncio.shield(self._end(child))
            raise
        return child

    async def _keep_or_end(self, child: "_Child", reply: _Parsed | _Failed) -> None:
        reusable = reply.resident_bytes < self._memory_bytes // 2 if isinstance(reply, _Parsed) else reply.reusable
        if reusable and child in self._alive and child.documents < self._documents_per_child:
            self._idle.append(child)
        else:
            await self._end(child)

    async def _end(self, child: "_Child") -> None:
        self._alive.discard(child)
        await child.end()


class _Child:
    """One child process, seen from the parent."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the child was started without pipes")
        self._process = process
        self._tasks = process.stdin
        self._replies = process.stdout
        self.pid = process.pid
        self.documents = 0

    @classmethod
    async def start(cls, memory_bytes: int) -> "_Child":
        command = (sys.executable, "-P", "-m", "ingest.sandbox", str(os.getpid()), str(memory_bytes))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment(), start_new_session=True
        )
        return cls(process)

    async def await_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._receive()
        except (TimeoutError, asyncio.IncompleteReadError, UnreadableDocument) as error:
            raise InterruptedDocument(
                "The parser's process did not start.",
                code="parser_unavailable",
                hint="Run `cloister doctor`; the document is tried again.",
            ) from error

    async def work(self, task: _Task, *, timeout: float) -> _Parsed | _Failed:  # noqa: ASYNC109 - it names its errors
        """Have one document parsed. On any exception the child must be ended."""
        self.documents += 1
        try:
            async with asyncio.timeout(timeout):
                self._tasks.writelines(_frame(msgspec.msgpack.encode(task)))
                await self._tasks.drain()
                reply = await self._receive()
        except TimeoutError as error:
            raise _timed_out(timeout) from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _explain_death(await self._exit_code(), timeout) from error
        except msgspec.DecodeError as error:
            raise _crashed() from error
        if isinstance(reply, _Ready):
            raise _crashed()
        return reply

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    async def end(self) -> None:
        self._kill()
        self._tasks.close()
        await self._process.wait()
        while await self._replies.read(MIB):
            pass

    async def _exit_code(self) -> int:
        """Wait for a child whose pipe has closed; kill it only if it lingers, lest its own exit code be lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                return await self._process.wait()
        self._kill()
        return await self._process.wait()

    def _kill(self) -> None:
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _receive(self) -> _Reply:
        length = int.from_bytes(await self._replies.readexactly(_LENGTH_BYTES))
        if length > _LARGEST_REPLY:
            raise UnreadableDocument(
                "The document holds more text than can be taken in at once.",
                code="parse_output",
                hint=f"Split it: a document may hold up to {_LARGEST_REPLY // MIB} MB of text.",
            )
        return _REPLIES.decode(await self._replies.readexactly(length))


def _environment() -> dict[str, str]:
    """What a child may know: where the code is, and nothing of our settings or secrets."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    code = os.pathsep.join(path for path in (os.path.abspath(p or os.curdir) for p in sys.path) if path)  # noqa: PTH100
    return {**inherited, "PYTHONPATH": code, "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


def _frame(message: bytes) -> tuple[bytes, bytes]:
    return len(message).to_bytes(_LENGTH_BYTES), message


def _timed_out(seconds: float) -> UnreadableDocument:
    return UnreadableDocument(
        f"The document was still being parsed after {seconds:g} seconds.",
        code="parse_timeout",
        hint="Split it, or simplify its markup.",
    )


def _explain_death(returncode: int, timeout: float) -> DocumentError:
    if returncode == -signal.SIGXCPU:
        return _timed_out(timeout)
    if returncode in _FROM_OUTSIDE:
        return InterruptedDocument("The parser's process was ended from outside.", hint="The document is tried again.")
    return _crashed()


def _crashed() -> UnreadableDocument:
    return UnreadableDocument(
        "The parser crashed on the document.",
        code="parse_crashed",
        hint="Convert it to another format, or save it anew with the program that made it.",
    )


# --- in the child ----------------------------------------------------------------------------------------------------


def _serve(parent: int, memory_bytes: int) -> None:
    """Parse what comes in on standard input until it ends."""
    _die_with(parent)
    tasks, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not land among the replies
    warm_up()
    _confine(memory_bytes)
    _send(replies, _Ready())
    while (task := _next_task(tasks)) is not None:
        _send(replies, _answer(task))


def _answer(task: _Task) -> _Parsed | _Failed:
    _allow_cpu(task.cpu_seconds)
    try:
        media_type = sniff(task.data, declared=task.declared, filename=task.filename)
        parsed = partition(task.data, media_type, declared=task.declared)
        return _Parsed(parsed, _resident_bytes())
    except UnreadableDocument as error:
        return _Failed(error.reason, error.message, error.hint, reusable=True)
    except Exception as error:  # noqa: BLE001 - the libraries raise what they like; its text may quote the document
        if isinstance(error, MemoryError) or _is_short_of_memory():
            message = "The document needs more memory to parse than a parser may have."
            return _Failed("parse_memory", message, "Split it, or simplify its markup.", reusable=False)
        message = f"The parser could not make sense of the document ({type(error).__name__})."
        return _Failed("parse_failed", message, "Convert it to another format, or save it anew.", reusable=False)


def _next_task(tasks: IO[bytes]) -> _Task | None:
    head = tasks.read(_LENGTH_BYTES)
    return _TASKS.decode(tasks.read(int.from_bytes(head))) if len(head) == _LENGTH_BYTES else None


def _send(replies: IO[bytes], reply: _Reply) -> None:
    replies.writelines(_frame(msgspec.msgpack.encode(reply)))
    replies.flush()


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent is gone, even by `kill -9` (Linux; elsewhere the pipe ends)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit()


def _confine(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _allow_cpu(seconds: int) -> None:
    """Let this process use so many CPU seconds more; SIGXCPU ends it after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _is_short_of_memory() -> bool:
    """Whether the bound was nearly reached: libxml2 then reports a syntax error in line 0."""
    bound, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        peak = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if "VmPeak" in line)
    except (OSError, StopIteration):
        return False
    return bound != resource.RLIM_INFINITY and int(peak.split()[1]) * 1024 > 0.75 * bound


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
