"""A data set of a few lines: six help articles, each with a question of its own."""

import json
from pathlib import Path

import pytest

from eval.datasets import Dataset, read_dataset

ARTICLES = {
    "tyres": ("Pump your tyres to sixty pounds. A soft tyre wears out early.", "What pressure do tyres need?"),
    "chain": ("Oil the chain every month. Wipe off what drips.", "How often should I oil the chain?"),
    "refund": ("A refund reaches your bank within ten days.", "When does a refund reach my bank?"),
    "battery": ("Charge the battery indoors, above freezing.", "Where can I charge the battery?"),
    "lock": ("The lock opens with the code on your receipt.", "Which code opens the lock?"),
    "helmet": ("Replace a helmet after any crash.", "Must I replace my helmet after a crash?"),
}


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data set on disk; `unanswered` has no relevant document."""
    folder = tmp_path / "bikes"
    folder.mkdir()
    documents = [
        {"_id": name, "title": name.title(), "text": text, "metadata": {"article": name}}
        for name, (text, _) in ARTICLES.items()
    ]
    queries = [{"_id": f"q-{name}", "text": question} for name, (_, question) in ARTICLES.items()]
    write_rows(folder / "corpus.jsonl", documents)
    write_rows(folder / "queries.jsonl", [*queries, {"_id": "unanswered", "text": "Who painted the moon?"}])
    judgements = "".join(f"q-{name}\t{name}\t1\n" for name in ARTICLES)
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judgements, "utf-8")
    return folder


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return read_dataset(folder)
