import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from eval.report import Config, Measured, Run, compare, differences, fusion_gain, prepare, read_run, write_run
from rag.domain import Mode
from rag.errors import Conflict, InvalidInput

CONFIG = Config(
    dataset="bikes & co",
    dataset_digest="d",
    corpus_digest="c",
    created_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    documents=2,
    chunks=2,
    dead_documents=[],
    queries=2,
    language="english",
    depth=100,
    settings={"dense_weight": 0.7},
    encoder={"fingerprint": "f"},
    versions={},
    machine={},
)


def figures(ndcg: float, *, judged: float = 0.1) -> dict[str, float]:
    return {"ndcg@10": ndcg, "judged@10": judged}


def run_of(measured: dict[Mode, dict[str, dict[str, float]]], *, digest: str = "d") -> Run:
    queries = {query: f"text of {query}" for found in measured.values() for query in found}
    return Run(
        config=msgspec.structs.replace(CONFIG, dataset_digest=digest),
        queries=queries,
        rankings={mode: {query: {"a b": 0.25, "c": 0.5} for query in found} for mode, found in measured.items()},
        measured={mode: Measured.of(found) for mode, found in measured.items()},
    )


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = run_of({"hybrid": {"q1": figures(0.5), "q2": figures(0.7)}, "keyword": {"q1": figures(0.2)}})
    folder = write_run(tmp_path / "runs", run)
    assert folder.name == "20260304T050607Z-retrieval-bikes-co"
    stored = read_run(folder)
    assert stored.config == run.config
    assert stored.metrics.modes == run.measured
    assert stored.metrics.modes["hybrid"].mean["ndcg@10"] == pytest.approx((0.5 + 0.7) / 2)
    assert stored.metrics.queries == {"q1": "text of q1", "q2": "text of q2"}


def test_the_rankings_are_readable_by_trec_eval(tmp_path: Path) -> None:
    folder = write_run(tmp_path, run_of({"keyword": {"q1": figures(0.5)}}))
    assert (folder / "run.keyword.trec").read_text() == (
        "q1 Q0 c 1 0.500000 cloister-keyword\nq1 Q0 a_b 2 0.250000 cloister-keyword\n"
    )


def test_a_second_run_in_the_same_second_has_a_directory_of_its_own(tmp_path: Path) -> None:
    run = run_of({"keyword": {"q1": figures(0.5)}})
    first, second = write_run(tmp_path, run), write_run(tmp_path, run)
    assert second.name == f"{first.name}-2"


def test_what_is_not_a_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=re.escape(str(tmp_path / "config.json"))):
        read_run(tmp_path)
    folder = write_run(tmp_path, run_of({"keyword": {"q1": figures(0.5)}}))
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"metrics\.json: .*queries"):
        read_run(folder)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    for place in (tmp_path / "runs", tmp_path / "runs" / "below"):
        with pytest.raises(InvalidInput, match="cannot write to"):
            prepare(place)


def test_fusion_is_set_against_its_better_leg() -> None:
    run = run_of(
        {
            "hybrid": {"q1": figures(0.9), "q2": figures(0.5)},
            "semantic": {"q1": figures(0.6), "q2": figures(0.6)},
            "keyword": {"q1": figures(0.1), "q2": figures(0.7)},
        }
    )
    gain = fusion_gain(run.measured)
    assert gain
    assert gain.leg == "semantic"
    assert gain.differences["ndcg@10"].mean == pytest.approx(((0.9 - 0.6) + (0.5 - 0.6)) / 2)
    assert gain.differences["ndcg@10"].p_value == 4 / 4  # of .3 and -.1, every way to sign them is as far off


def test_there_is_nothing_to_gain_without_both() -> None:
    assert fusion_gain(run_of({"hybrid": {"q1": figures(1)}}).measured) is None
    assert fusion_gain(run_of({"keyword": {"q1": figures(1)}}).measured) is None


def test_a_share_of_judgements_is_no_quality_to_compare() -> None:
    assert list(differences({"q1": figures(1)}, {"q1": figures(0.5, judged=0.9)})) == ["ndcg@10"]


def test_two_runs_are_compared_on_the_queries_both_have(tmp_path: Path) -> None:
    a = read_run(write_run(tmp_path, run_of({"hybrid": {"q1": figures(0.5), "q2": figures(0.5), "q3": figures(0.1)}})))
    b = read_run(write_run(tmp_path, run_of({"hybrid": {"q1": figures(0.75), "q2": figures(0.5)}})))
    found = compare(a, b)
    assert found.queries == 2
    assert found.differences["hybrid"]["ndcg@10"].mean == pytest.approx((0.25 + 0) / 2)
    assert [(move.query_id, move.text, move.before, move.after) for move in found.moved] == [
        ("q1", "text of q1", 0.5, 0.75)
    ]


def test_the_largest_moves_come_first_and_are_ten(tmp_path: Path) -> None:
    a = read_run(write_run(tmp_path, run_of({"keyword": {f"q{n}": figures(0.5) for n in range(12)}})))
    b = read_run(
        write_run(tmp_path, run_of({"keyword": {f"q{n}": figures(0.5 + n * (-1) ** n / 50) for n in range(12)}}))
    )
    assert [move.query_id for move in compare(a, b).moved] == [f"q{n}" for n in range(11, 1, -1)]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (run_of({"hybrid": {"q1": figures(1)}}, digest="e"), "not the same data"),
        (run_of({"keyword": {"q1": figures(1)}}), "no mode in common"),
        (run_of({"hybrid": {"q9": figures(1)}}), "no query in common"),
    ],
)
def test_runs_that_measure_different_things_are_not_compared(tmp_path: Path, other: Run, says: str) -> None:
    a = read_run(write_run(tmp_path, run_of({"hybrid": {"q1": figures(1)}})))
    with pytest.raises(Conflict, match=says):
        compare(a, read_run(write_run(tmp_path, other)))
