"""`cloister eval`: figures to stdout, progress to stderr."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec
import rich_click as click

from ingest.cli.session import json_option, print_json, print_table, say, with_services
from rag.domain import Mode
from rag.services import Services

if TYPE_CHECKING:
    from rich.progress import TaskID

    from eval.datasets import Dataset
    from eval.gate import GateReport
    from eval.report import Run, RunComparison
    from eval.significance import Difference
    from eval.tuning import Grid

_MODES = ("hybrid", "semantic", "keyword")
_WIDTH = 60

folder = click.Path(exists=True, file_okay=False, path_type=Path)
data_option = click.option("--data", required=True, type=folder, help="A data set in BEIR's layout.")
several_option = click.option(
    "--data", required=True, multiple=True, type=folder, help="A data set in BEIR's layout; may be repeated."
)
language_option = click.option("--language", default="english", show_default=True, help="Of the corpus.")
keep_option = click.option("--keep", is_flag=True, help="Leave the corpus loaded for the next run.")
fresh_option = click.option("--fresh", is_flag=True, help="Load the corpus anew, even if a run left it.")


@click.group("eval")
def group() -> None:
    """Measure retrieval on your own data."""


@group.group()
def run() -> None:
    """Measure one part of the service, and keep the figures in a run directory."""


class _Modes(click.ParamType[tuple[Mode, ...]]):
    name = "modes"

    def convert(
        self, value: str | tuple[Mode, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Mode, ...]:
        if isinstance(value, tuple):
            return value
        known: tuple[Mode, ...] = get_args(Mode)
        asked = [name.strip() for name in value.split(",") if name.strip()]
        if unknown := [name for name in asked if name not in known]:
            self.fail(f"'{unknown[0]}' is none of {', '.join(known)}", param, ctx)
        return tuple(mode for mode in known if mode in asked) or known


@run.command()
@data_option
@click.option(
    "--out", default=Path("runs"), show_default=True, type=click.Path(file_okay=False, path_type=Path), help="Where to."
)
@click.option("--name", help="What the data set is called; the folder's name when left out.")
@click.option("--modes", default=",".join(_MODES), show_default=True, type=_Modes(), help="With commas between.")
@click.option("--limit-queries", type=click.IntRange(min=1), metavar="N", help="Only the first N queries.")
@language_option
@keep_option
@fresh_option
@json_option
def retrieval(
    data: Path,
    out: Path,
    name: str | None,
    modes: tuple[Mode, ...],
    limit_queries: int | None,
    language: str,
    keep: bool,
    fresh: bool,
    as_json: bool,
) -> None:
    """Search a corpus with queries whose relevant documents are known, and score the rankings.

    The corpus goes into a throw-away tenant through the ingestion that serves everybody. A data set is a folder with
    corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv).
    """
    from eval.datasets import read_dataset
    from eval.report import prepare, write_run
    from eval.runner import run_retrieval

    dataset = read_dataset(data, name=name)
    prepare(out)  # now, and not after the work

    async def work(services: Services) -> "Run":
        with _follow() as follow:
            return await run_retrieval(
                services,
                dataset,
                modes=modes,
                limit_queries=limit_queries,
                language=language,
                keep=keep,
                fresh=fresh,
                follow=follow,
            )

    done = with_services(work)
    written = write_run(out, done)
    _say_dead(done.config.dead_documents)
    say(f"written to {written}")
    if as_json:
        print_json({"run": str(written), "means": {mode: found.mean for mode, found in done.measured.items()}})
    else:
        _print_run(done)


@group.command()
@click.argument("a", type=folder)
@click.argument("b", type=folder)
@json_option
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Set run B against run A: each difference with its significance, and the queries that moved most."""
    from eval.report import compare as set_side_by_side
    from eval.report import read_run

    comparison = set_side_by_side(read_run(a), read_run(b))
    if as_json:
        print_json(comparison)
    else:
        _print_comparison(comparison)


@group.command()
@several_option
@language_option
@keep_option
@json_option
def tune(data: tuple[Path, ...], language: str, keep: bool, as_json: bool) -> None:
    """Search once, then score the hybrid ranking over a grid of fusion weights."""
    from eval.tuning import tune_fusion

    datasets = _read_all(data)

    async def work(services: Services) -> "list[Grid]":
        return [await tune_fusion(services, dataset, language=language, keep=keep) for dataset in datasets]

    grids = with_services(work)
    if as_json:
        print_json(grids)
    else:
        _print_grids(grids)


@group.command("fit-gate")
@several_option
@click.option("--check", multiple=True, type=folder, help="A data set whose questions all have an answer.")
@click.option("--signs", metavar="NAMES", help="Of the evidence, with commas between; all when left out.")
@click.option("--group-by", default="article", show_default=True, help="The metadata field that names a source.")
@click.option(
    "--false-refusals",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The share of answerable questions that may be refused.",
)
@language_option
@keep_option
@json_option
def fit_gate(
    data: tuple[Path, ...],
    check: tuple[Path, ...],
    signs: str | None,
    group_by: str,
    false_refusals: float,
    language: str,
    keep: bool,
    as_json: bool,
) -> None:
    """Fit the gate that refuses a question the corpus does not answer.

    Each question is asked twice: with the sources it is answered by, and with the other half of the sources.
    """
    from eval.gate import SIGNS, fit

    chosen = _signs(signs, SIGNS)
    labelled, answerable = _read_all(data), _read_all(check)

    async def work(services: Services) -> "GateReport":
        return await fit(
            services,
            labelled,
            answerable,
            signs=chosen,
            group_by=group_by,
            false_refusals=false_refusals,
            language=language,
            keep=keep,
        )

    report = with_services(work)
    if as_json:
        print_json(report)
    else:
        _print_gate(report)


@contextmanager
def _follow() -> "Iterator[Callable[[Mode, int, int], None]]":
    """A bar a mode, on stderr; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[Mode, TaskID] = {}

        def follow(mode: Mode, done: int, total: int) -> None:
            if mode not in tasks:
                tasks[mode] = progress.add_task(f"searching, {mode}", total=total)
            progress.update(tasks[mode], completed=done)

        yield follow


def _print_run(done: "Run") -> None:
    from eval.report import fusion_gain

    names = list(next(iter(done.measured.values())).mean)
    print_table(
        ["mode", *names],
        [[mode, *(f"{found.mean[name]:.4f}" for name in names)] for mode, found in done.measured.items()],
    )
    if gain := fusion_gain(done.measured):
        click.echo()
        _print_differences(f"hybrid - {gain.leg}", gain.differences)


def _print_differences(title: str, found: "Mapping[str, Difference]") -> None:
    print_table(
        [title, "difference", "95 % interval", "p", "queries"],
        [
            [name, f"{d.mean:+.4f}", f"{d.low:+.4f} to {d.high:+.4f}", f"{d.p_value:.4f}", d.queries]
            for name, d in found.items()
        ],
    )


def _print_comparison(comparison: "RunComparison") -> None:
    for mode, found in comparison.differences.items():
        _print_differences(mode, found)
        click.echo()
    rows: list[list[object]] = [
        [move.mode, f"{move.before:.3f}", f"{move.after:.3f}", move.query_id, _short(move.text)]
        for move in comparison.moved
    ]
    print_table(["moved most", "ndcg@10 A", "B", "query", "text"], rows)


def _print_grids(grids: "list[Grid]") -> None:
    for grid in grids:
        click.echo(f"{grid.dataset}: {grid.queries} queries")
        rows: list[list[object]] = [
            [cell.growth, cell.sentence_share, cell.dense_weight, f"{cell.ndcg10:.4f}", f"{cell.recall10:.4f}"]
            for cell in grid.cells
        ]
        print_table(["growth", "sentence share", "dense weight", "ndcg@10", "recall@10"], rows)
        click.echo()


def _print_gate(report: "GateReport") -> None:
    gate, held_out = report.gate, report.held_out
    terms = " ".join(f"{weight:+} x {sign}" for sign, weight in gate.weights.items())
    click.echo(f"logit = {terms} {gate.intercept:+} (shifted by {report.shift:+}; encoder {report.encoder})")
    click.echo()
    print_table(
        [f"held out, {report.sources} sources", "mean", "deviation"],
        [
            [name, f"{spread.mean:.4f}", f"{spread.deviation:.4f}"]
            for name, spread in msgspec.structs.asdict(held_out).items()
        ],
    )
    click.echo()
    print_table(
        ["data set", "answerable", "refused", "gaps", "refused", "AUROC"],
        [[d.dataset, d.answerable, d.false_refusals, d.gaps, d.gaps_refused, d.auroc] for d in report.datasets],
    )
    click.echo()
    print_table(
        ["gate in service", "refusal_threshold", "gaps refused"],
        [[t.dataset, t.threshold, t.gaps_refused] for t in report.thresholds],
    )


def _read_all(folders: tuple[Path, ...]) -> "list[Dataset]":
    """Read data sets; of several whose folders have one name, each is called after the folder above too."""
    from eval.datasets import read_dataset

    paths = [path.resolve() for path in folders]
    names = [path.name for path in paths]
    return [
        read_dataset(path, name=path.name if names.count(path.name) == 1 else f"{path.parent.name}-{path.name}")
        for path in paths
    ]


def _signs(asked: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if asked is None:
        return known
    signs = tuple(sign.strip() for sign in asked.split(","))
    if unknown := [sign for sign in signs if sign not in known]:
        raise click.BadParameter(f"'{unknown[0]}' is none of {', '.join(known)}", param_hint="--signs")
    return signs


def _say_dead(dead: list[str]) -> None:
    if dead:
        say(f"{len(dead)} documents could not be ingested, so no query finds them: {', '.join(dead[:5])}")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
