"""Progress on stderr: a bar with count, rate, time left and dead so far; lines where there is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ingest.load import Step

_EVERY_S: Final = 10.0


class _Rate(ProgressColumn):
    """Documents a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s")


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[Step], None]]:
    """A bar to report steps to."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[dead]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total, dead="")

        def follow(step: Step) -> None:
            dead = f"{step.dead} dead" if step.dead else ""
            progress.update(task, completed=step.done, total=step.total, dead=dead)

        yield follow


def _lines(what: str) -> Callable[[Step], None]:
    last = time.monotonic()

    def follow(step: Step) -> None:
        nonlocal last
        if time.monotonic() - last > _EVERY_S:
            last = time.monotonic()
            dead = f", {step.dead} dead" if step.dead else ""
            click.echo(f"{what}: {step.done} of {step.total}{dead}", err=True)

    return follow
