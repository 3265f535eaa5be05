"""A progress bar on stderr: count, rate, time left, dead so far; silent where stderr is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ingest.load import Step


class _Rate(ProgressColumn):
    """Documents a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s")


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[Step], None]]:
    """A bar to report steps to."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[dead]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, dead="")

        def follow(step: Step) -> None:
            dead = f"{step.dead} dead" if step.dead else ""
            progress.update(task, completed=step.done, total=step.total, dead=dead)

        yield follow
