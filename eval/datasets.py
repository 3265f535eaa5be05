"""A data set as BEIR lays it out: corpus.jsonl, queries.jsonl, and judgements in qrels.tsv or qrels/test.tsv.

Whatever is wrong is named by file and line (Thakur et al., BEIR, NeurIPS 2021 Datasets and Benchmarks).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from rag.errors import InvalidInput

_QRELS: Final = ("qrels.tsv", "qrels/test.tsv")
_COLUMNS: Final = 3

Qrels = Mapping[str, Mapping[str, int]]


class Document(msgspec.Struct, frozen=True, rename={"id": "_id"}):
    """A document of the corpus."""

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] = {}


class Topic(msgspec.Struct, frozen=True, rename={"id": "_id"}):
    """A query with its identity."""

    id: str
    text: str
    metadata: dict[str, Any] = {}


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A corpus with queries and graded judgements; a document that is not judged for a query counts as irrelevant.

    `digest` is of everything that a figure depends on, `corpus_digest` of the documents alone.
    """

    name: str
    documents: Sequence[Document]
    topics: Sequence[Topic]
    qrels: Qrels
    digest: str
    corpus_digest: str

    @property
    def answerable(self) -> list[Topic]:
        """The queries with at least one relevant document: those that retrieval is measured on."""
        return [topic for topic in self.topics if any(grade > 0 for grade in self.qrels.get(topic.id, {}).values())]


_Row = TypeVar("_Row", Document, Topic)


def read_dataset(folder: Path, *, name: str | None = None) -> Dataset:
    """The data set in a folder; raises `InvalidInput` that names the file and the line."""
    documents = _read_rows(folder / "corpus.jsonl", Document)
    topics = _read_rows(folder / "queries.jsonl", Topic)
    qrels = _read_qrels(_qrels_path(folder), documents, topics)
    return make_dataset(name or folder.resolve().name, documents, topics, qrels)


def make_dataset(name: str, documents: Sequence[Document], topics: Sequence[Topic], qrels: Qrels) -> Dataset:
    """A data set of these parts, with its digests."""
    corpus = _digest(documents)
    return Dataset(
        name=name,
        documents=documents,
        topics=topics,
        qrels=qrels,
        digest=_digest([corpus, topics, qrels]),
        corpus_digest=corpus,
    )


def _read_rows(path: Path, kind: type[_Row]) -> list[_Row]:
    found: dict[str, _Row] = {}
    for number, line in _lines(path):
        try:
            row = msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{path}:{number}: {error}") from error
        if not row.id or row.id in found:
            raise InvalidInput(f"{path}:{number}: " + (f"_id '{row.id}' stands twice" if row.id else "_id is empty"))
        found[row.id] = row
    if not found:
        raise InvalidInput(f"{path}: there is nothing in it")
    return list(found.values())


def _qrels_path(folder: Path) -> Path:
    for name in _QRELS:
        if (folder / name).is_file():
            return folder / name
    raise InvalidInput(f"{folder}: neither {' nor '.join(_QRELS)} is there")


def _read_qrels(path: Path, documents: Sequence[Document], topics: Sequence[Topic]) -> dict[str, dict[str, int]]:
    known = {topic.id for topic in topics}, {document.id for document in documents}
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        if number > 1:  # the first is the header
            query, document, grade = _judgement(line, known, f"{path}:{number}")
            qrels.setdefault(query, {})[document] = grade
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise InvalidInput(f"{path}: no document is relevant to any query (is the header line missing?)")
    return qrels


def _judgement(line: str, known: tuple[set[str], set[str]], place: str) -> tuple[str, str, int]:
    columns = line.rstrip("\n").split("\t")
    if len(columns) != _COLUMNS:
        raise InvalidInput(f"{place}: three columns with tabs between, query-id, corpus-id, score; not {len(columns)}")
    query, document, grade = columns
    if query not in known[0]:
        raise InvalidInput(f"{place}: no query '{query}' in queries.jsonl")
    if document not in known[1]:
        raise InvalidInput(f"{place}: no document '{document}' in corpus.jsonl")
    try:
        return query, document, int(grade)
    except ValueError as error:
        raise InvalidInput(f"{place}: the score is a whole number, not '{grade}'") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 ({error.reason})") from error


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]
