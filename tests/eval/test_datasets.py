from collections.abc import Callable
from pathlib import Path

import pytest

from eval.datasets import read_dataset
from rag.errors import InvalidInput

CORPUS = """{"_id": "d1", "title": "Tyres", "text": "Pump them up."}
{"_id": "d2", "text": "Oil the chain.", "metadata": {"a": 1}}
"""
QUERIES = '{"_id": "q1", "text": "flat tyre"}\n{"_id": "q2", "text": "moon"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS, *, at: str = "qrels.tsv") -> Path:
        (tmp_path / "corpus.jsonl").write_text(corpus, "utf-8")
        (tmp_path / "queries.jsonl").write_text(queries, "utf-8")
        (tmp_path / at).parent.mkdir(exist_ok=True)
        (tmp_path / at).write_text(qrels, "utf-8")
        return tmp_path

    return write


def test_a_data_set_is_read(write: Write) -> None:
    dataset = read_dataset(write(), name="bikes")
    assert dataset.name == "bikes"
    assert [(d.id, d.title, d.text, d.metadata) for d in dataset.documents] == [
        ("d1", "Tyres", "Pump them up.", {}),
        ("d2", "", "Oil the chain.", {"a": 1}),
    ]
    assert dataset.qrels == {"q1": {"d1": 2, "d2": 0}}


def test_it_is_called_after_its_folder(write: Write) -> None:
    folder = write()
    assert read_dataset(folder).name == folder.name


def test_queries_with_nothing_relevant_are_not_measured(write: Write) -> None:
    dataset = read_dataset(write(qrels=QRELS + "q2\td1\t0\n"))
    assert [topic.id for topic in dataset.answerable] == ["q1"]


def test_judgements_may_stand_where_beir_puts_them(write: Write) -> None:
    assert read_dataset(write(at="qrels/test.tsv")).qrels == {"q1": {"d1": 2, "d2": 0}}


def test_a_byte_order_mark_and_a_separator_inside_a_text_do_no_harm(write: Write) -> None:
    dataset = read_dataset(write(corpus="\ufeff" + CORPUS.replace("Pump them", "Pump\u2028them")))
    assert [document.text for document in dataset.documents] == ["Pump\u2028them up.", "Oil the chain."]


@pytest.mark.parametrize(
    ("parts", "place", "says"),
    [
        ({"corpus": CORPUS + "{oops\n"}, "corpus.jsonl:3", "malformed"),
        ({"corpus": CORPUS + '{"_id": 3, "text": "x"}\n'}, "corpus.jsonl:3", "Expected `str`"),
        ({"corpus": CORPUS + '{"_id": "d3"}\n'}, "corpus.jsonl:3", "missing required field `text`"),
        ({"corpus": CORPUS + '{"_id": "d1", "text": "x"}\n'}, "corpus.jsonl:3", "'d1' stands twice"),
        ({"corpus": '{"_id": "", "text": "x"}\n'}, "corpus.jsonl:1", "empty"),
        ({"corpus": "\n"}, "corpus.jsonl", "nothing in it"),
        ({"queries": '{"_id": "q1"}\n'}, "queries.jsonl:1", "`text`"),
        ({"qrels": QRELS + "q1 d1 1\n"}, "qrels.tsv:4", "three columns"),
        ({"qrels": QRELS + "q9\td1\t1\n"}, "qrels.tsv:4", "no query 'q9'"),
        ({"qrels": QRELS + "q1\td9\t1\n"}, "qrels.tsv:4", "no document 'd9'"),
        ({"qrels": QRELS + "q1\td1\tyes\n"}, "qrels.tsv:4", "whole number"),
        ({"qrels": "q1\td1\t1\n"}, "qrels.tsv", "header"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(write: Write, parts: dict[str, str], place: str, says: str) -> None:
    folder = write(**parts)
    with pytest.raises(InvalidInput) as refused:
        read_dataset(folder)
    assert refused.value.message.startswith(f"{folder / place}:")
    assert says in refused.value.message


def test_missing_and_unreadable_files_are_named(write: Write) -> None:
    folder = write()
    (folder / "qrels.tsv").unlink()
    with pytest.raises(InvalidInput, match=r"neither qrels\.tsv nor qrels/test\.tsv"):
        read_dataset(folder)
    (folder / "corpus.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"corpus\.jsonl: not UTF-8"):
        read_dataset(folder)
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InvalidInput, match=r"corpus\.jsonl: No such file"):
        read_dataset(folder)


def test_the_digests_tell_what_changed(write: Write) -> None:
    first = read_dataset(write())
    judged_anew = read_dataset(write(qrels=QRELS.replace("\t2", "\t1")))
    assert judged_anew.corpus_digest == first.corpus_digest
    assert judged_anew.digest != first.digest
    rewritten = read_dataset(write(corpus=CORPUS.replace("chain", "brake")))
    assert rewritten.corpus_digest != first.corpus_digest
    assert rewritten.digest != first.digest
