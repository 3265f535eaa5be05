"""Measure what parsing and chunking cost, how long chunks come out, and what the place of the cuts is worth.

    python -m benchmarks.chunking FOLDER [--passages BEIR_FOLDER --per-document 5]

FOLDER holds Markdown, HTML and text files. Costs are CPU seconds per megabyte of text, in one process, and the
ratio sets them against embedding the same chunks. With --passages (corpus.jsonl, queries.jsonl with
`metadata.answers`, qrels.tsv; neighbouring passages belong together), that many passages make one document, and
a query counts as answered when the chunk found first holds the answer where its own passage has it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.chunk import Chunk, ChunkedDocument, SentenceEncoder, chunk
from ingest.partition import Element, Partition, partition, sniff, warm_up
from rag.embedding.base import Matrix
from rag.embedding.onnx_encoder import OnnxEncoder
from rag.errors import UnreadableDocument

T = TypeVar("T")
Ranks = NDArray[np.float64]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--files", type=int, default=60, help="read this many of them, spread evenly")
    arguments.add_argument("--passages", type=Path)
    arguments.add_argument("--per-document", type=int, default=5)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        encoder = OnnxEncoder.open(Path(cache))
        measure_files(options.folder, options.files, encoder)
        if options.passages:
            measure_recall(read_passages(options.passages, options.per_document), encoder)


@dataclass
class WithoutSimilarity:
    """The encoder with all sentences alike: chunks are cut by length and markup alone, at no cost of vectors."""

    encoder: SentenceEncoder

    @property
    def max_pieces(self) -> int:
        """As the encoder."""
        return self.encoder.max_pieces

    def count_pieces(self, texts: Sequence[str]) -> list[int]:
        """As the encoder."""
        return self.encoder.count_pieces(texts)

    def piece_offsets(self, text: str) -> list[tuple[int, int]]:
        """As the encoder."""
        return self.encoder.piece_offsets(text)

    def embed_sync(self, texts: Sequence[str]) -> Matrix:
        """Say the same of every text."""
        return np.ones((len(texts), 1), dtype=np.float32)


# --- cost and length --------------------------------------------------------------------------------------------------


def measure_files(folder: Path, limit: int, encoder: SentenceEncoder) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    warm_up()
    parsed, parsing = timed(lambda: read_files(files[:: max(1, len(files) // limit)][:limit]))
    bare = WithoutSimilarity(encoder)
    _, cutting = timed(lambda: [chunk(each, title=None, encoder=bare) for each in parsed])
    documents, chunking = timed(lambda: [chunk(each, title=None, encoder=encoder) for each in parsed])
    chunks = [piece for document in documents for piece in document.chunks]
    _, embedding = timed(lambda: encoder.embed_sync([piece.embedded_text for piece in chunks]))
    megabytes = sum(len(document.text) for document in documents) / 1e6
    print(f"{len(parsed)} documents, {megabytes:.2f} MB of text, {len(chunks)} chunks")
    for name, seconds in (("parse", parsing), ("cut", cutting), ("sentence vectors", chunking - cutting)):
        print(f"{name:17} {seconds / megabytes:6.1f} CPU-s/MB, {seconds / embedding:5.2f} x embedding the chunks")
    pieces = np.array([piece.pieces for piece in chunks])
    middle, high = np.percentile(pieces, [50, 95])
    print(
        f"word pieces: median {middle:.0f}, p95 {high:.0f}, most {pieces.max()}, under 30: {np.mean(pieces < 30):.1%}"
    )


def read_files(files: Sequence[Path]) -> list[Partition]:
    parsed = []
    for path in files:
        data = path.read_bytes()
        try:
            parsed.append(partition(data, sniff(data, declared=None, filename=path.name)))
        except UnreadableDocument as error:
            print(f"left out: {path.name}: {error.reason}")
    return parsed


def timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


# --- what the cuts are worth ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """A query, the passage that answers it, and the answers as they stand there."""

    text: str
    document: int
    passage: int
    answers: list[str]


@dataclass(frozen=True)
class Passages:
    """Documents as lists of passages, and the questions they answer."""

    documents: list[list[str]]
    questions: list[Question]


def read_passages(folder: Path, per_document: int) -> Passages:
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines()]
    texts = [" ".join(row["text"].split()) for row in rows]
    place = {row["_id"]: divmod(n, per_document) for n, row in enumerate(rows)}
    qrels = dict(line.split("\t")[:2] for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:])
    questions = []
    for line in (folder / "queries.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        questions.append(Question(row["text"], *place[qrels[row["_id"]]], row["metadata"]["answers"]))
    documents = [texts[n : n + per_document] for n in range(0, len(texts), per_document)]
    return Passages(documents, questions)


def measure_recall(passages: Passages, encoder: SentenceEncoder) -> None:
    queries = encoder.embed_sync([question.text for question in passages.questions])
    bare = WithoutSimilarity(encoder)
    print(f"{len(passages.questions)} questions over {len(passages.documents)} documents: R@1, R@5, MRR")
    for form, separator in (("paragraphs joined", " "), ("paragraphs kept", "\n\n")):
        for rule, cutter in (("by length", bare), ("by subject", encoder)):
            documents = [cut_passages(each, separator, cutter) for each in passages.documents]
            ranks = rank_answers(passages, documents, separator, queries, encoder)
            figures = f"{np.mean(ranks < 1):.3f}  {np.mean(ranks < 5):.3f}  {np.mean(1 / (ranks + 1)):.3f}"
            print(f"{form}, cut {rule:10}  {figures}  {sum(len(each.chunks) for each in documents)} chunks")


def cut_passages(passages: list[str], separator: str, encoder: SentenceEncoder) -> ChunkedDocument:
    texts = passages if "\n" in separator else [separator.join(passages)]
    elements = [Element("text", text) for text in texts]
    return chunk(Partition("text/plain", None, elements), title=None, encoder=encoder)


def rank_answers(
    passages: Passages, documents: list[ChunkedDocument], separator: str, queries: Matrix, encoder: SentenceEncoder
) -> Ranks:
    """Rank, from 0, the first chunk that holds each question's answer; a cut through the answer is a miss."""
    chunks = [(n, piece) for n, document in enumerate(documents) for piece in document.chunks]
    likeness = queries @ encoder.embed_sync([piece.embedded_text for _, piece in chunks]).T
    ranks = []
    for question, row in zip(passages.questions, likeness, strict=True):
        spans = answer_spans(question, passages.documents[question.document], separator)
        order = np.argsort(-row, kind="stable")
        holders = (n for n, at in enumerate(order) if holds(chunks[at], question.document, spans))
        ranks.append(next(holders, np.inf))
    return np.array(ranks, dtype=np.float64)


def answer_spans(question: Question, document: list[str], separator: str) -> list[tuple[int, int]]:
    start = sum(len(passage) + len(separator) for passage in document[: question.passage])
    found = ((document[question.passage].find(answer), len(answer)) for answer in question.answers)
    return [(start + at, start + at + length) for at, length in found if at >= 0]


def holds(place: tuple[int, Chunk], document: int, spans: list[tuple[int, int]]) -> bool:
    owner, piece = place
    return owner == document and any(piece.start <= start and end <= piece.end for start, end in spans)


if __name__ == "__main__":
    main()
