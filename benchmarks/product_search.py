"""As-you-type search over a product catalogue: how long it takes, and what a misspelling costs in recall.

    python benchmarks/product_search.py FOLDER [--products N] [--vectors FILE]

FOLDER holds a catalogue in BEIR's form with metadata: corpus.jsonl, queries.jsonl, qrels.tsv. Requests go through the
HTTP application in this process, each one distinct, so that every one misses the cache; misspellings are the same at
every run. `--vectors` keeps the embeddings for the next run. Ratios are the figures: milliseconds are the machine's.
"""

import argparse
import asyncio
import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx
import msgspec
import numpy as np

from rag.app import create_app
from rag.domain import Scope, TenantId
from rag.embedded import temporary_servers
from rag.services import Services, open_services, with_embedded_servers
from rag.settings import Settings
from rag.store.collections import create_collection
from rag.store.corpus import read_writing, refresh_statistics
from rag.store.ingestion import NewChunk, NewVersion, Submission, bring_into_service, claim, submit
from rag.store.keys import create_key
from rag.store.migrate import migrate
from rag.store.tenants import create_tenant
from rag.telemetry import configure_logging

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_FACETS = ["supplier", "price_cents"]
_DEEP = 100


async def main(settings: Settings, folder: Path, *, products: int, vectors: Path | None) -> None:
    async with open_services(settings) as services:
        catalogue = [json.loads(line) for line in (folder / "corpus.jsonl").open("rb")][:products]
        started = time.perf_counter()
        key = await _load(services, catalogue, _embedded(services, catalogue, vectors))
        print(f"{len(catalogue)} products in service after {time.perf_counter() - started:.0f} s")
        queries = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").open("rb"))}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services=services)),
            base_url="http://shop.test",
            headers={"Authorization": f"Bearer {key}"},
        ) as client:
            await _warm(client, queries)
            await _times(client, list(queries.values()))
            await _recall(client, queries, _relevant(folder))


def _embedded(services: Services, catalogue: Sequence[dict[str, Any]], kept: Path | None) -> np.ndarray:
    if kept and kept.is_file():
        return np.load(kept).astype(np.float32)
    texts = [f"{product['title']}\n{product['text']}" for product in catalogue]
    vectors = [services.encoder.embed_sync(texts[start : start + 64]) for start in range(0, len(texts), 64)]
    matrix = np.concatenate(vectors)
    if kept:
        np.save(kept, matrix.astype(np.float16))
    return matrix


async def _load(services: Services, catalogue: Sequence[dict[str, Any]], vectors: np.ndarray) -> str:
    async with services.database.control() as control:
        tenant = TenantId((await create_tenant(control, "shop")).tenant_id)
    async with services.database.tenant(tenant) as connection:
        await create_collection(connection, tenant, "products", facet_fields=_FACETS)
        key, _ = await create_key(connection, tenant, scopes=[Scope.SEARCH])
    for product, vector in zip(catalogue, vectors, strict=True):
        await _serve(services, tenant, product, vector)
    async with services.database.tenant(tenant, timeout_s=600) as connection:
        await refresh_statistics(connection, tenant)
        await connection.execute("DELETE FROM ingest_sources")
    return key


async def _serve(services: Services, tenant: TenantId, product: dict[str, Any], vector: np.ndarray) -> None:
    submission = Submission(
        external_id=product["_id"],
        body=product["text"].encode(),
        title=product["title"],
        metadata=product["metadata"],
    )
    async with services.database.tenant(tenant) as connection:
        writing = await read_writing(connection, tenant)
        receipt = await submit(
            connection,
            services.delivery,
            tenant,
            "products",
            submission,
            chunker_version=writing.chunker_version,
            backlog=0,
        )
        run = await claim(connection, tenant, receipt.job_id or UUID(int=0))
        if run:
            await bring_into_service(connection, tenant, run, _version(product, vector), writing)


def _version(product: dict[str, Any], vector: np.ndarray) -> NewVersion:
    text = product["text"] or product["title"]
    chunk = NewChunk(
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        heading_path=[],
        context="",
        page=None,
        tokens=len(text.split()),
        pieces=len(text.split()),
        sha256=hashlib.sha256(f"{product['title']}\n{text}".encode()).digest(),
        headings=product["title"],
        body=text,
        embedding=vector,
        sentences=[],
    )
    return NewVersion(title=product["title"], media_type="text/plain", text=text, chunks=[chunk])


def _relevant(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, product, score = line.split("\t")
        if int(score) >= 2:
            found.setdefault(query, set()).add(product)
    return found


def _misspelled(text: str, *, variants: int) -> Iterator[str]:
    """The text with one mistake in one of its words: swapped, missing, one too many, wrong; four letters stay of it.

    What comes out may be another word: `phone` for `iphone`.
    """
    words = text.split()
    places = [n for n, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    rng = random.Random(text)  # noqa: S311 - the same mistakes at every run
    made = 0
    while places and made < variants:
        place = rng.choice(places)
        typed = _mistyped(words[place], made % 4, rng)
        if len(typed) < 4 and len(words[place]) == 4:
            typed = _mistyped(words[place], 3, rng)
        if typed != words[place]:
            made += 1
            yield " ".join([*words[:place], typed, *words[place + 1 :]])


def _mistyped(word: str, kind: int, rng: random.Random) -> str:
    at = rng.randrange(len(word) - 1)
    other = rng.choice([letter for letter in _LETTERS if letter != word[at]])
    return {
        0: word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        1: word[:at] + word[at + 1 :],
        2: word[:at] + other + word[at:],
        3: word[:at] + other + word[at + 1 :],
    }[kind]


def _as_typed(text: str) -> Iterator[str]:
    """What stands in the box after each key from the second letter of the last word."""
    head, _, last = text.rpartition(" ")
    yield from (f"{head} {last[:n]}".strip() for n in range(2, len(last) + 1))


async def _ask(client: httpx.AsyncClient, query: str, **more: Any) -> dict[str, Any]:
    response = await client.post("/v1/search", json={"query": query, "mode": "keyword", "fallback": False, **more})
    response.raise_for_status()
    return msgspec.json.decode(response.content)


async def _warm(client: httpx.AsyncClient, queries: dict[str, str]) -> None:
    for query in queries.values():
        await _ask(client, query, limit=7, facets=_FACETS)


async def _times(client: httpx.AsyncClient, queries: Sequence[str]) -> None:
    wrong = [typo for query in queries for typo in _misspelled(query, variants=4)]
    typed = list(dict.fromkeys(beginning for query in queries for beginning in _as_typed(query)))
    typed_wrong = list(dict.fromkeys(beginning for typo in wrong[::4] for beginning in _as_typed(typo)))
    full = {"prefix": True, "facets": _FACETS, "highlight": True}
    runs: list[tuple[str, Sequence[str], dict[str, Any]]] = [
        ("keyword, uncorrected", queries, {"correct": False}),
        ("keyword", queries, {}),
        ("keyword, one typo", wrong, {}),
        ("as you type", typed, {"prefix": True}),
        ("as you type, facets, highlights", typed, full),
        ("as you type, one typo, facets, highlights", typed_wrong, full),
        ("one a document, facets", queries, {"group_by": "document", "facets": _FACETS}),
        ("by price", queries, {"sort": {"field": "price_cents"}}),
        ("facets under a filter", queries, {"filters": {"price_cents": {"$lt": 20000}}, "facets": _FACETS}),
        ("hybrid", queries, {"mode": "hybrid"}),
        ("hybrid, one typo", wrong, {"mode": "hybrid"}),
    ]
    print(f"\n{'':<44}{'n':>6}{'p50 ms':>9}{'p95':>8}{'p99':>8}{'p50 to 1st':>12}")
    first = 0.0
    for name, asked, more in runs:
        taken = [await _timed(client, query, **more) for query in asked]
        p50, p95, p99 = np.percentile(taken, [50, 95, 99])
        first = first or float(p50)
        print(f"{name:<44}{len(taken):>6}{p50:>9.1f}{p95:>8.1f}{p99:>8.1f}{p50 / first:>11.2f}x")


async def _timed(client: httpx.AsyncClient, query: str, **more: Any) -> float:
    started = time.perf_counter()
    await _ask(client, query, **more)
    return (time.perf_counter() - started) * 1000


async def _recall(client: httpx.AsyncClient, queries: dict[str, str], relevant: dict[str, set[str]]) -> None:
    print(f"\n{'':<20}{'recall@100':>12}{'one typo':>10}{'ratio':>8}{'top 10 kept':>13}")
    for mode in ("keyword", "hybrid"):
        clean, wrong, kept, mended, typos = [], [], [], 0, 0
        for number, query in queries.items():
            wanted = relevant.get(number, set())
            hits = await _found(client, query, mode)
            for typo in _misspelled(query, variants=8):
                answer = await _ask(client, typo, mode=mode, limit=_DEEP)
                found = [hit["external_id"] for hit in answer["hits"]]
                typos, mended = typos + 1, mended + (answer["corrected_query"] == query)
                if wanted:
                    clean.append(len(wanted & set(hits)) / len(wanted))
                    wrong.append(len(wanted & set(found)) / len(wanted))
                if hits:
                    kept.append(len(set(hits[:10]) & set(found[:10])) / len(hits[:10]))
        a, b = np.mean(clean), np.mean(wrong)
        print(f"{mode:<20}{a:>12.3f}{b:>10.3f}{b / a:>8.3f}{np.mean(kept):>13.3f}   {mended} of {typos} mended exactly")


async def _found(client: httpx.AsyncClient, query: str, mode: str) -> list[str]:
    return [hit["external_id"] for hit in (await _ask(client, query, mode=mode, limit=_DEEP))["hits"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--products", type=int, default=10**9)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    configure_logging(level="error")
    with temporary_servers() as servers, TemporaryDirectory() as data:
        migrate(servers.owner_url)
        bench = with_embedded_servers(
            Settings(
                data_dir=Path(data),
                log_level="error",
                partition_chunks=100_000,  # as a shop of this size is served: exactly
                limit_tenant_units=0,
                limit_key_units=0,
                limit_user_units=0,
            ),
            app_url=servers.app_url,
            owner_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(main(bench, options.folder, products=options.products, vectors=options.vectors))
