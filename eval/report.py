"""A run on disk, and two runs side by side.

    <stamp>-retrieval-<data set>/
        config.json       what the figures depend on
        metrics.json      means, and every metric of every query
        run.<mode>.trec   the rankings, for trec_eval and its kin

Nothing in it needs this program to be read.
"""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from eval.metrics import ranking_of
from eval.significance import Difference, difference
from rag.domain import Mode
from rag.embedding.base import Embedder
from rag.errors import Conflict, InvalidInput

PRIMARY: Final = "ndcg@10"
NO_QUALITY: Final = frozenset({"judged@10"})  # says how far to trust the others; more is not better
_PACKAGES: Final = ("cloister", "numpy", "onnxruntime", "pgvector", "psycopg", "tokenizers", "unstructured")
_LEGS: Final[tuple[Mode, ...]] = ("semantic", "keyword")
_MOVED: Final = 10

T = TypeVar("T")

Rankings = dict[str, dict[str, float]]
PerQuery = dict[str, dict[str, float]]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures of a run depend on; equal `dataset_digest` means the same documents, queries and judgements."""

    dataset: str
    dataset_digest: str
    corpus_digest: str
    created_at: datetime
    documents: int
    chunks: int
    dead_documents: list[str]
    queries: int
    language: str
    depth: int
    settings: dict[str, Any]
    encoder: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]


class Measured(msgspec.Struct, frozen=True):
    """A mode's figures: the mean of each metric over the queries, and each query's own."""

    mean: dict[str, float]
    per_query: PerQuery

    @classmethod
    def of(cls, per_query: PerQuery) -> Self:
        """The figures of these queries; no query, no mean."""
        names = next(iter(per_query.values()), {})
        return cls(
            {name: round(sum(q[name] for q in per_query.values()) / len(per_query), 6) for name in names}, per_query
        )


class Gain(msgspec.Struct, frozen=True):
    """What fusing is worth: hybrid less the better of its legs, by that leg's primary metric."""

    leg: Mode
    differences: dict[str, Difference]


class Metrics(msgspec.Struct, frozen=True):
    """metrics.json."""

    queries: dict[str, str]
    modes: dict[Mode, Measured]
    fusion: Gain | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A retrieval run; `rankings` holds documents by score, mode by mode and query by query."""

    config: Config
    queries: dict[str, str]
    rankings: dict[Mode, Rankings]
    measured: dict[Mode, Measured]


class StoredRun(msgspec.Struct, frozen=True):
    """What a comparison reads of a run directory."""

    config: Config
    metrics: Metrics


class Move(msgspec.Struct, frozen=True):
    """A query whose primary metric is not what it was."""

    mode: Mode
    query_id: str
    text: str
    before: float
    after: float


class RunComparison(msgspec.Struct, frozen=True):
    """Run B less run A on the queries that both have; `moved` lists the largest moves first."""

    queries: int
    differences: dict[Mode, dict[str, Difference]]
    moved: list[Move]


def make_config(*, dense_weight: float, encoder: Embedder, postgresql: int, **facts: Any) -> Config:
    """The configuration of a run, with what this process can say of itself."""
    return Config(
        settings={"dense_weight": dense_weight},
        encoder={
            "model": encoder.model,
            "revision": encoder.revision,
            "dimensions": encoder.dimensions,
            "fingerprint": encoder.fingerprint,
        },
        versions={
            **{package: version(package) for package in _PACKAGES},
            "python": platform.python_version(),
            "postgresql": f"{postgresql // 10_000}.{postgresql % 10_000}",
        },
        machine={"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
        **facts,
    )


def fusion_gain(measured: Mapping[Mode, Measured]) -> Gain | None:
    """Hybrid against its better leg; None unless hybrid and a leg were both run."""
    legs: list[Mode] = [mode for mode in _LEGS if mode in measured]
    if "hybrid" not in measured or not legs:
        return None
    leg = max(legs, key=lambda mode: measured[mode].mean[PRIMARY])
    return Gain(leg, differences(measured["hybrid"].per_query, measured[leg].per_query))


def differences(ours: PerQuery, theirs: PerQuery) -> dict[str, Difference]:
    """The difference in each metric over the queries that both have."""
    shared = [query for query in ours if query in theirs]
    names = [name for name in (ours[shared[0]] if shared else {}) if name not in NO_QUALITY]
    return {
        name: difference([ours[query][name] for query in shared], [theirs[query][name] for query in shared])
        for name in names
    }


def prepare(out: Path) -> None:
    """Make the directory that runs go to; raises `InvalidInput` when nothing can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot write to {out}: {error.strerror}") from error
    if not os.access(out, os.W_OK):
        raise InvalidInput(f"cannot write to {out}: it belongs to somebody else")


def write_run(out: Path, run: Run) -> Path:
    """Write a run to a directory of its own below `out`, and give its path."""
    prepare(out)
    stamp = run.config.created_at.strftime("%Y%m%dT%H%M%SZ")
    folder = _new_folder(out, f"{stamp}-retrieval-{re.sub(r'[^A-Za-z0-9._-]+', '-', run.config.dataset)}")
    metrics = Metrics(run.queries, run.measured, fusion_gain(run.measured))
    _write_json(folder / "config.json", run.config)
    _write_json(folder / "metrics.json", metrics)
    for mode, rankings in run.rankings.items():
        (folder / f"run.{mode}.trec").write_text("".join(_trec_lines(mode, rankings)), "utf-8")
    return folder


def read_run(folder: Path) -> StoredRun:
    """The configuration and the figures of a run directory; raises `InvalidInput` that names the file."""
    return StoredRun(_read_json(folder / "config.json", Config), _read_json(folder / "metrics.json", Metrics))


def compare(a: StoredRun, b: StoredRun) -> RunComparison:
    """Run B less run A, mode by mode; raises `Conflict` when they do not measure the same thing."""
    if a.config.dataset_digest != b.config.dataset_digest:
        raise Conflict(f"not the same data: '{a.config.dataset}' and '{b.config.dataset}' differ in some line")
    modes = [mode for mode in b.metrics.modes if mode in a.metrics.modes]
    shared = [query for query in b.metrics.queries if query in a.metrics.queries]
    if not modes or not shared:
        raise Conflict("the two runs have no " + ("query" if modes else "mode") + " in common")
    return RunComparison(
        len(shared),
        {mode: differences(b.metrics.modes[mode].per_query, a.metrics.modes[mode].per_query) for mode in modes},
        _moved(a, b, modes, shared),
    )


def _moved(a: StoredRun, b: StoredRun, modes: Sequence[Mode], queries: Sequence[str]) -> list[Move]:
    moves = [
        Move(
            mode,
            query,
            b.metrics.queries[query],
            a.metrics.modes[mode].per_query[query][PRIMARY],
            b.metrics.modes[mode].per_query[query][PRIMARY],
        )
        for mode in modes
        for query in queries
    ]
    changed = [move for move in moves if move.before != move.after]
    return sorted(changed, key=lambda move: -abs(move.after - move.before))[:_MOVED]


def _trec_lines(mode: Mode, rankings: Rankings) -> list[str]:
    return [
        f"{_word(query)} Q0 {_word(document)} {rank} {scores[document]:.6f} cloister-{mode}\n"
        for query, scores in rankings.items()
        for rank, document in enumerate(ranking_of(scores), 1)
    ]


def _word(identity: str) -> str:
    # A blank would begin the next column.
    return re.sub(r"\s", "_", identity)


def _new_folder(out: Path, name: str) -> Path:
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = out / f"{name}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise Conflict(f"{out} is full of runs named {name}")


def _write_json(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}; is this a run directory?") from error
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path}: {error}") from error
