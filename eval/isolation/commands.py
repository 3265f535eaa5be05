"""THE TABLE of the command line: each command that reads is run, as the real program, for the wrong tenant.

Whoever can run a command may read all of a tenant, so what is tried is `--tenant`: beta's, with alpha's words and ids.
To add a command that reads, add a line to `READS`; to add another one, its name and why it is not tried to `OTHERS`.
A command that is in neither fails the check, by its name.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
import rich_click as click

from eval.isolation.callers import Caller
from eval.isolation.estate import ALPHA, BETA, Thing
from eval.isolation.judge import Judge
from ingest.cli import cli
from ingest.cli.run import environment_of
from rag.domain import Scope
from rag.tenancy import ALL_GROUPS

COMMANDS: Final = "command line"

_AT_ONCE: Final = 2
_TIMEOUT_S: Final = 60.0

Words = Callable[[Thing], list[str]]

# command: its arguments, made of what is asked for; `--tenant SLUG` is added, and `--json` where there is a choice
READS: Final[Mapping[str, Words]] = {
    "search": lambda thing: [f"{thing.document.title} {thing.document.text}"],
    "ask": lambda thing: [thing.document.question],
    "jobs list": lambda _: [],
    "jobs show": lambda thing: [thing.ids["job_id"]],
    "key list": lambda _: [],
    "audit export": lambda _: [],
}

OTHERS: Final[Mapping[str, str]] = {
    "approval deny": "changes",
    "approval grant": "changes",
    "approval list": "an operator's",
    "audit verify": "gives counts and hashes",
    "doctor": "reads no tenant",
    "usage": "gives counts",
    "erase document": "changes",
    "erase list": "an operator's: receipts of all tenants",
    "erase show": "an operator's: a receipt, which names nothing that was erased",
    "erase tenant": "changes",
    "erase user": "changes",
    "erase vacuum": "changes",
    "ingest": "writes",
    "jobs cancel": "changes",
    "jobs retry": "changes",
    "key create": "changes",
    "key revoke": "changes",
    "key rotate": "changes",
    "migrate": "changes",
    "purge": "changes",
    "serve": "runs",
    "space activate": "changes",
    "space list": "an operator's: all tenants",
    "tenant create": "changes",
    "tenant delete": "changes",
    "tenant limits": "an operator's: the tenant that is named",
    "tenant list": "an operator's: all tenants",
    "tenant retention": "an operator's: the tenant that is named",
    "tenant show": "an operator's: the tenant that is named",
    "up": "runs",
    "verify-isolation": "this one",
    "worker": "runs",
}
OF_OTHER_GROUPS: Final = ("eval",)  # works in a throwaway tenant of its own

_FOR_BETA: Final = Caller(
    name="the operator, for beta",
    key=None,
    kind="secret",
    tenant=BETA,
    scopes=frozenset(Scope),
    groups=frozenset({ALL_GROUPS}),
)


class Run(msgspec.Struct, frozen=True):
    """How a command ended, and all that it said."""

    code: int
    said: bytes


async def try_commands(judge: Judge) -> None:
    """Run every command that reads for beta, with alpha's words, and the same for what does not exist."""
    commands = dict(_commands(cli))
    for name in sorted(commands):
        if name not in READS and name not in OTHERS and name.split()[0] not in OF_OTHER_GROUPS:
            what = f"'cloister {name}' is not in the tables of eval/isolation/commands.py"
            judge.ledger.found(COMMANDS, name, "-", what)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str, words: Words) -> None:
        options = ["--json"] if any("--json" in found.opts for found in commands[name].params) else []
        async with gate:
            await _try_command(judge, name, lambda thing: [*words(thing), *options])

    await asyncio.gather(*(one(name, words) for name, words in READS.items() if name in commands))


async def _try_command(judge: Judge, name: str, words: Words) -> None:
    estate = judge.estate
    target, ghost = estate.target, estate.target.ghost()
    own = await _run(judge, name, words(target), ALPHA)
    if own.code or not {c.word for c in estate.canaries.traces(own.said)} & set(target.words()):
        what = f"'cloister {name}' does not show alpha's canary for alpha (exit {own.code}): nothing was proved"
        judge.ledger.found(COMMANDS, name, "the operator", what)
    theirs = await _run(judge, name, words(target), BETA)
    if leaked := judge.leaked(_FOR_BETA, said=" ".join(words(target)).encode(), told=theirs.said):
        what = f"cloister {name} --tenant beta shows what is not beta's"
        judge.ledger.found(COMMANDS, name, _FOR_BETA.name, what, leaked)
    if theirs.code:
        absent = await _run(judge, name, words(ghost), BETA)
        if (theirs.code, _plain(theirs, target)) != (absent.code, _plain(absent, ghost)):
            what = (
                f"cloister {name} --tenant beta answers alpha's ids unlike what does not exist: {theirs.said[:200]!r}"
            )
            judge.ledger.found(COMMANDS, name, _FOR_BETA.name, what)


async def _run(judge: Judge, name: str, words: list[str], tenant: str) -> Run:
    slug = judge.estate.tenants[tenant].slug
    settings = judge.estate.services.settings
    environment = {**os.environ, **environment_of(settings), "CLOISTER_DATA_DIR": str(settings.data_dir)}
    program = [sys.executable, "-m", "ingest.cli", *name.split(), *words, "--tenant", slug]
    child = await asyncio.create_subprocess_exec(
        *program, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            said, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    code = child.returncode or 0
    judge.ledger.tried(COMMANDS, name, "the operator", f"cloister {name} … --tenant {tenant}", f"exit {code}")
    return Run(code, said)


def _plain(run: Run, thing: Thing) -> bytes:
    said = run.said
    for word in thing.words():
        said = said.replace(word.encode(), b"")
    return said


def _commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for child in group.list_commands(context):
        found = group.get_command(context, child)
        name = f"{above} {child}".strip()
        if isinstance(found, click.Group) and name not in OF_OTHER_GROUPS:
            yield from _commands(found, name)
        elif found is not None:
            yield name, found
