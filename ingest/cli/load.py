"""`cloister ingest`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import rich_click as click

from ingest.cli.progress import bar
from ingest.cli.session import find_tenant, json_option, print_json, print_table, say, tenant_option, with_services
from ingest.load import Load, LoadReport
from ingest.source import SourceFile, source_files
from rag.services import Services

_SHOWN = 50
_LOOK_S = 5.0
_DEAD_LETTERS = 3


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@tenant_option
@click.option("--collection", default="default", show_default=True, help="Made if it does not exist.")
@click.option("--glob", help="Only files whose name matches, such as '*.md'.")
@json_option
def ingest(paths: tuple[Path, ...], tenant: str, collection: str, glob: str | None, as_json: bool) -> None:
    """Load files and folders. What has not changed since the last load is left as it is.

    A document's id is its path below the folder that was named. Exit code 3: some documents ended as dead letters.
    """
    files = list(source_files(paths, glob=glob))
    if not files:
        raise click.UsageError("no file there that could hold text" + (f" and matches '{glob}'" if glob else ""))

    async def work(services: Services) -> LoadReport:
        owner = await find_tenant(services.database, tenant)
        async with worker_at_hand(services):
            return await run_load(Load(services, owner, collection), files)

    try:
        report = with_services(work)
    except KeyboardInterrupt:
        say("interrupted: what was queued stays queued; the same command again goes on from there")
        raise SystemExit(130) from None
    _print(report, as_json=as_json)
    if report.dead:
        raise SystemExit(_DEAD_LETTERS)


async def run_load(load: Load, files: list[SourceFile]) -> LoadReport:
    """Queue and follow a load with a progress bar on stderr."""
    if files:
        with bar("queueing", len(files)) as follow:
            await load.queue(files, follow=follow)
    with bar("ingesting", len(files)) as follow:
        return await load.finish(follow=follow)


@asynccontextmanager
async def worker_at_hand(services: Services) -> AsyncIterator[None]:
    """See to it that somebody works: the workers that run, or else one in this process, for as long as this lasts."""
    caller = asyncio.current_task()
    substitute = asyncio.create_task(_work_if_nobody_does(services))

    def end_the_wait(ended: asyncio.Task[None]) -> None:
        if caller is not None and not ended.cancelled():
            caller.cancel()  # nobody works any more: what is waited for will not come

    substitute.add_done_callback(end_the_wait)
    try:
        yield
    except asyncio.CancelledError:
        if substitute.done() and (error := substitute.exception()):
            raise error from None
        raise
    finally:
        substitute.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await substitute


async def _work_if_nobody_does(services: Services) -> None:
    # Looked at again and again: a worker that was killed counts as alive for half a minute.
    from ingest.worker import work
    from rag.store.delivery import workers_alive

    while True:
        async with services.database.control() as connection:
            alive = await workers_alive(connection)
        if not alive:
            await work(services)
        await asyncio.sleep(_LOOK_S)


def _print(report: LoadReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    print_table(
        ["ingested", "unchanged", "cancelled", "dead"],
        [[report.succeeded, report.unchanged, report.cancelled, len(report.dead)]],
    )
    if report.dead:
        click.echo()
        rows: list[list[object]] = [
            [letter.external_id, letter.error.code, letter.error.message, letter.error.hint]
            for letter in report.dead[:_SHOWN]
        ]
        print_table(["dead letter", "code", "reason", "what to do"], rows)
        if len(report.dead) > _SHOWN:
            say(f"… and {len(report.dead) - _SHOWN} more; --json lists them all")
