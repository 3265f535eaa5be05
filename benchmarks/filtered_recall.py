"""Recall and time of the dense leg under filters, over tenant sizes and selectivities, against an exact scan.

    python -m benchmarks.filtered_recall --sizes 100,1000,10000,100000 --peers /path/to/python

All tenants stand in one database. The vectors are made: clusters of 50 unit vectors, so that a question has near
neighbours and a filter leaves fewer of them than are asked for, which is hard on an index that is filtered afterwards.
`--peers` is the Python of an environment with the stores of benchmarks/peer_stores.py: they get the same vectors on
the same server, in their own table.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from ingest.placement import place
from rag.domain import ChunkId, TenantId
from rag.embedded import EmbeddedServers, temporary_servers
from rag.retrieval.dense import dense_candidates
from rag.store.corpus import read_corpus
from rag.store.database import Database
from rag.store.migrate import migrate
from rag.store.search import SearchScope, dense_leg
from rag.tenancy import Principal

SPACE, DIMENSIONS, K, DEPTH = "minilm_l6_v2", 384, 10, 50
BUCKETS, GROUPS, CLUSTER = 20_000, 20, 50
COLLECTIONS = {"half": 0.5, "third": 0.3, "tenth": 0.1, "hundredth": 0.01, "rest": 0.09}
PARTITION_CHUNKS = 20_000
_SEED = (Path(__file__).parent / "filtered_recall.sql").read_text("utf-8")


class Case(NamedTuple):
    """A way to narrow a search; `below` of 20,000 buckets pass, `far` keeps the query's own cluster out."""

    name: str
    collections: tuple[str, ...] | None = None
    groups: int = GROUPS
    below: int = BUCKETS
    far: bool = False

    @property
    def share(self) -> float:
        """The part of a tenant's chunks that is in scope."""
        collections = 1.0 if self.collections is None else sum(COLLECTIONS[name] for name in self.collections)
        return collections * self.groups / GROUPS * self.below / BUCKETS * (0.5 if self.far else 1)


CASES = [
    Case("everything"),
    Case("collection", collections=("half",)),
    Case("collection", collections=("tenth",)),
    Case("collection", collections=("hundredth",)),
    Case("groups", groups=10),
    Case("groups", groups=5),
    Case("groups", groups=1),
    Case("filter", below=10_000),
    Case("filter", below=4_000),
    Case("filter", below=2_000),
    Case("filter", below=200),
    Case("filter", below=10),
    Case("filter away from the query", far=True),
    Case("collection, groups", collections=("half", "third"), groups=10),
    Case("collection, groups, filter", collections=("third",), groups=10, below=10_000),
    Case("collection, groups, filter", collections=("tenth",), groups=2, below=1_000),
]
PEER_CASES = [case for case in CASES if case.name in {"everything", "filter"}]


class Corpus(NamedTuple):
    """A tenant's rows: vectors (n, dim) unit length, the cluster and the bucket of each."""

    tenant: TenantId
    slug: str
    vectors: np.ndarray
    clusters: np.ndarray
    buckets: np.ndarray


def made(number: int, size: int, rng: np.random.Generator) -> Corpus:
    centres = unit(rng.standard_normal((max(1, size // CLUSTER), DIMENSIONS)))
    clusters = rng.integers(0, len(centres), size)
    vectors = unit(centres[clusters] + 0.04 * rng.standard_normal((size, DIMENSIONS)))
    tenant = TenantId(UUID(int=number + 1))
    return Corpus(tenant, f"size-{size}", vectors, clusters, rng.integers(0, BUCKETS, size))


def unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def questions(corpus: Corpus, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Query vectors (number, dim) near some rows, and those rows' clusters."""
    near = rng.integers(0, len(corpus.vectors), number)
    noise = 0.03 * rng.standard_normal((number, DIMENSIONS))
    return unit(corpus.vectors[near] + noise), corpus.clusters[near]


def load(admin_url: str, corpora: list[Corpus], rng: np.random.Generator) -> None:
    with psycopg.connect(admin_url, autocommit=True) as admin:
        register_vector(admin)
        admin.execute(
            "CREATE TABLE rows (tenant uuid, number int, collection int, acl int, bucket int, parity int, "
            "embedding halfvec(384))"
        )
        for corpus in corpora:
            collections = rng.choice(len(COLLECTIONS), len(corpus.vectors), p=list(COLLECTIONS.values()))
            groups = rng.integers(0, GROUPS, len(corpus.vectors))
            with admin.cursor().copy("COPY rows FROM STDIN WITH (FORMAT BINARY)") as lines:
                lines.set_types(["uuid", "int4", "int4", "int4", "int4", "int4", "halfvec"])
                for i, vector in enumerate(corpus.vectors):
                    place_of = (int(collections[i]) + 1, int(groups[i]) + 1)
                    kind = (int(corpus.buckets[i]), int(corpus.clusters[i]) % 2)
                    lines.write_row((corpus.tenant, i, *place_of, *kind, HalfVector(vector)))
        admin.execute(_SEED)
        admin.execute("VACUUM ANALYZE")


async def measure(database: Database, corpus: Corpus, case: Case, queries: np.ndarray, clusters: np.ndarray) -> Any:
    groups = tuple(f"group-{number}" for number in range(1, case.groups + 1))
    principal = Principal(
        tenant=corpus.tenant, slug=corpus.slug, key_id=corpus.tenant, kind="secret", scopes=frozenset(), groups=groups
    )
    recalls, short, planned, exactly, plans = [], 0, [], [], set()
    for query, cluster in zip(queries, clusters, strict=True):
        async with database.tenant(corpus.tenant, snapshot=True) as connection:
            state = await read_corpus(connection, principal)
            numbers = {c.name: c.collection_id for c in state.collections}
            chosen = None if case.collections is None else [numbers[name] for name in case.collections]
            scope = SearchScope.of(corpus.tenant, state, chosen, predicate(case, int(cluster)))
            started = time.perf_counter()
            found, plan = await dense_candidates(connection, scope, query, limit=DEPTH)
            between = time.perf_counter()
            truth = await dense_leg(connection, scope, query, limit=DEPTH)
            planned.append(between - started)
            exactly.append(time.perf_counter() - between)
        plans.add("in vain" if plan.reason.startswith(("the index came", "what is nearest")) else plan.method)
        short += len(found) < len(truth)
        recalls.append(recall(found, truth))
    return recalls, short, planned, exactly, plans


def predicate(case: Case, cluster: int) -> str | None:
    if case.far:
        return f'(exists($ ? (@."parity" == {1 - cluster % 2})))'
    return None if case.below == BUCKETS else f'(exists($ ? (@."bucket" < {case.below})))'


def recall(found: list[tuple[ChunkId, float]], truth: list[tuple[ChunkId, float]]) -> float:
    """Of the K nearest, the part that is among the first K found; a tie is as good."""
    if not truth:
        return 1.0
    worst = truth[:K][-1][1] - 1e-6
    return sum(score >= worst for _, score in found[:K]) / min(K, len(truth))


def milliseconds(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):9.2f}"


async def ours(servers: EmbeddedServers, corpora: list[Corpus], number: int) -> None:
    database = await Database.open(servers.app_url, size=2)
    rng = np.random.default_rng(2)
    try:
        for corpus in corpora:
            started = time.perf_counter()
            await place(database, corpus.tenant, SPACE, partition_chunks=PARTITION_CHUNKS)
            if len(corpus.vectors) > PARTITION_CHUNKS:
                print(f"{corpus.slug}: moved to its own partition in {time.perf_counter() - started:.0f} s\n")
        print(
            f"{'chunks':>8} {'narrowed by':30} {'share':>8}  {'plan':16} {'recall@10':>9} {'short':>5}"
            f" {'p50 ms':>9} {'exact ms':>9}"
        )
        for corpus in corpora:
            queries, clusters = questions(corpus, number, rng)
            for case in CASES:
                recalls, short, planned, exactly, plans = await measure(database, corpus, case, queries, clusters)
                print(
                    f"{len(corpus.vectors):8} {case.name:30} {case.share:8.2%}  {' '.join(sorted(plans)):16}"
                    f" {statistics.mean(recalls):9.4f} {short:5} {milliseconds(planned)} {milliseconds(exactly)}",
                    flush=True,
                )
    finally:
        await database.close()


def peers(servers: EmbeddedServers, corpora: list[Corpus], number: int, python: str) -> None:
    rng = np.random.default_rng(2)
    with TemporaryDirectory() as temporary, psycopg.connect(servers.admin_url, autocommit=True) as admin:
        folder = Path(temporary)
        admin.execute("CREATE DATABASE peers")
        url = servers.admin_url.replace("/postgres?", "/peers?")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        vectors = np.concatenate([corpus.vectors for corpus in corpora])
        asked, queries = list(questions_of(corpora)), []
        for question in asked:
            found, _ = questions(question["corpus"], number, rng)
            question["queries"] = list(range(len(queries), len(queries) + number))
            queries.extend(found)
        np.save(folder / "rows.npy", vectors)
        np.save(folder / "queries.npy", np.asarray(queries))
        description = {
            "url": url,
            "database": "peers",
            "k": K,
            "tenants": [corpus.slug for corpus in corpora for _ in corpus.vectors],
            "buckets": [int(bucket) for corpus in corpora for bucket in corpus.buckets],
            "questions": [{key: value for key, value in q.items() if key != "corpus"} for q in asked],
        }
        (folder / "asked.json").write_text(json.dumps(description))
        script = str(Path(__file__).parent / "peer_stores.py")
        with subprocess.Popen([python, script, temporary], stdout=subprocess.PIPE, text=True) as running:  # noqa: S603
            lines = [json.loads(line) for line in running.stdout or []]
        compare(corpora, asked, np.asarray(queries), lines)


def questions_of(corpora: list[Corpus]) -> Iterator[dict[str, Any]]:
    for corpus in corpora:
        for case in PEER_CASES:
            name = f"{len(corpus.vectors):8} {case.name:30} {case.share:8.2%}"
            yield {"name": name, "tenant": corpus.slug, "below": case.below, "corpus": corpus}


def compare(corpora: list[Corpus], asked: list[dict[str, Any]], queries: np.ndarray, lines: list[Any]) -> None:
    first = dict(zip([c.slug for c in corpora], np.cumsum([0, *(len(c.vectors) for c in corpora)]), strict=False))
    print(
        f"\n{'chunks':>8} {'narrowed by':30} {'share':>8}  {'store':20} {'iterative':14} {'recall@10':>9}"
        f" {'rows':>5} {'p50 ms':>9}"
    )
    for line in (line for line in lines if "missing" in line):
        print(f"not compared: {line['missing']}")
    for question in asked:
        corpus: Corpus = question["corpus"]
        inside = np.flatnonzero(corpus.buckets < question["below"])
        scores = queries[question["queries"]] @ corpus.vectors[inside].T
        mine = [line for line in lines if line.get("question") == question["name"]]
        for store, iterative in dict.fromkeys((line["store"], line["iterative"]) for line in mine):
            its = [line for line in mine if (line["store"], line["iterative"]) == (store, iterative)]
            recalls = []
            for line in its:
                best = inside[np.argsort(-scores[line["query"]])[:K]] + first[corpus.slug]
                recalls.append(len(set(line["found"]) & set(best.tolist())) / max(1, len(best)))
            rows = statistics.mean(len(line["found"]) for line in its)
            print(
                f"{question['name']}  {store:20} {iterative:14} {statistics.mean(recalls):9.4f} {rows:5.1f}"
                f" {milliseconds([line['seconds'] for line in its])}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,1000,10000,50000")
    parser.add_argument("--queries", type=int, default=25)
    parser.add_argument("--peers", metavar="PYTHON")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    sizes = [int(size) for size in options.sizes.split(",")]
    corpora = [made(number, size, rng) for number, size in enumerate(sizes)]
    with temporary_servers() as servers:
        migrate(servers.owner_url)
        load(servers.admin_url.replace("/postgres?", "/cloister?"), corpora, rng)
        asyncio.run(ours(servers, corpora, options.queries))
        if options.peers:
            peers(servers, corpora, options.queries, options.peers)
        else:
            print("\nother stores not compared: give --peers the Python of an environment that has them")


if __name__ == "__main__":
    main()
