import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.cli import group
from rag.errors import Conflict
from rag.settings import ENVIRONMENT, Settings


@pytest.fixture
def invoke(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Run a command of the group as its own process would, on the test's database."""
    for name in ("database_url", "migration_database_url", "redis_url"):
        monkeypatch.setenv(ENVIRONMENT[name], settings.secret(name))
    monkeypatch.setenv(ENVIRONMENT["data_dir"], str(settings.data_dir))

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=False)

    return invoke


def test_a_run_is_written_and_printed(invoke, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    done = invoke("run", "retrieval", "--data", folder, "--out", out)
    assert done.exit_code == 0, done.output
    (written,) = out.iterdir()
    assert f"written to {written}" in done.stderr
    assert sorted(path.name for path in written.iterdir()) == [
        "config.json",
        "metrics.json",
        "run.hybrid.trec",
        "run.keyword.trec",
        "run.semantic.trec",
    ]
    assert json.loads((written / "config.json").read_text())["dataset"] == "bikes"
    assert "hybrid - " in done.stdout
    assert "95 % interval" in done.stdout


def test_two_runs_are_compared(invoke, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    runs = []
    for _ in range(2):
        done = invoke(
            "run", "retrieval", "--data", folder, "--out", out, "--modes", "keyword", "--limit-queries", "3",
            "--keep", "--json",
        )  # fmt: skip
        found = json.loads(done.stdout)
        assert list(found["means"]) == ["keyword"]
        runs.append(found["run"])
    compared = json.loads(invoke("compare", *runs, "--json").stdout)
    assert compared["queries"] == 3
    assert compared["differences"]["keyword"]["ndcg@10"]["mean"] == 0
    assert compared["moved"] == []
    assert "moved most" in invoke("compare", *runs).stdout


def test_an_unknown_mode_is_a_usage_error(invoke, folder: Path) -> None:
    refused = invoke("run", "retrieval", "--data", folder, "--modes", "hybrid,magic")
    assert refused.exit_code == 2
    assert "'magic' is none of hybrid, semantic, keyword" in " ".join(refused.stderr.replace("│", " ").split())


def test_other_data_is_not_compared(invoke, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    options = ["--out", out, "--modes", "keyword", "--json"]
    first = json.loads(invoke("run", "retrieval", "--data", folder, *options).stdout)["run"]
    qrels = folder / "qrels.tsv"
    qrels.write_text(qrels.read_text().replace("\t1\n", "\t2\n"))
    second = json.loads(invoke("run", "retrieval", "--data", folder, *options).stdout)["run"]
    with pytest.raises(Conflict, match="not the same data"):
        invoke("compare", first, second)


def test_the_grid_and_the_gate_are_printed(invoke, folder: Path) -> None:
    tuned = invoke("tune", "--data", folder)
    assert tuned.exit_code == 0
    assert "dense weight" in tuned.stdout
    fitted = invoke("fit-gate", "--data", folder, "--check", folder, "--false-refusals", "0.2", "--json")
    report = json.loads(fitted.stdout)
    assert set(report["gate"]) == {"weights", "intercept"}
    printed = invoke("fit-gate", "--data", folder, "--false-refusals", "0.2", "--signs", "best_sentence").stdout
    assert " x best_sentence" in printed
    assert "lexical_coverage" not in printed
    assert invoke("fit-gate", "--data", folder, "--signs", "best_guess").exit_code == 2
