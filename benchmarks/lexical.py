"""The lexical leg beside `ts_rank_cd` and beside a BM25 written out: how fast, and how good.

    python -m benchmarks.lexical [--rows 1000,10000,100000] [--data BEIR_FOLDER]...

Speed is on made-up text whose words are as frequent as Zipf has it, on a server of its own: both rank the same chunks
through the same index, `ts_rank_cd` as the owner, so that row-level security does not stand in its way. Quality is on
data sets, loaded as `cloister eval run --keep` loads them: nDCG@10 of the keyword mode, of BM25 in NumPy over the same
lexemes with exact statistics, and of `ts_rank_cd`.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
from numpy.typing import NDArray

from eval.corpus import corpus_in_service
from eval.datasets import Dataset, read_dataset
from eval.metrics import ndcg, ranking_of
from eval.runner import documents_of
from ingest.cli.session import with_services
from rag.domain import Query, TenantId
from rag.embedded import EmbeddedServers, temporary_servers
from rag.services import Services
from rag.store.corpus import read_corpus, refresh_statistics
from rag.store.database import Database, TenantConnection
from rag.store.migrate import migrate
from rag.store.search import SearchScope, lexical_leg, lexical_plan
from rag.store.tenants import create_tenant
from rag.tenancy import ALL_GROUPS, Principal

_WORDS = 30_000
_QUERIES = 60
_K1, _B, _HEADINGS = 1.2, 0.75, 2
_TS_RANK_CD = """
SELECT chunk_id, ts_rank_cd(tsv, q) AS score FROM cloister.chunk_lexemes, CAST(%(terms)s AS tsquery) q
WHERE tenant_id = %(tenant)s AND tsv @@ q ORDER BY score DESC, chunk_id LIMIT %(limit)s
"""


# ---------------------------------------------------------------- speed


async def speed(servers: EmbeddedServers, sizes: Iterable[int]) -> None:
    """Print the median and the 95th percentile of both, in milliseconds, for tenants of these sizes."""
    database = await Database.open(servers.app_url)
    rng = random.Random(1)  # noqa: S311 - the same corpus at every run
    print(f"{_QUERIES} queries of 2 to 6 words, 50 candidates; milliseconds, median (95th percentile)")
    print(f"{'chunks':>8} {'this lexical leg':>20} {'ts_rank_cd':>20} {'ratio':>6}")
    for size in sizes:
        async with database.control() as control:
            tenant = TenantId((await create_tenant(control, f"t{size}")).tenant_id)
        _fill(servers.owner_url, tenant, size, rng)
        async with database.tenant(tenant, timeout_s=600) as connection:
            await refresh_statistics(connection, tenant)
        queries = [" ".join(f"w{_zipf(rng, low=20)}" for _ in range(rng.randint(2, 6))) for _ in range(_QUERIES)]
        ours = [await _ours(database, tenant, query) for query in ["w21", *queries]][1:]
        with psycopg.connect(servers.owner_url, autocommit=True) as owner:
            theirs = [_theirs(owner, tenant, query) for query in ["w21", *queries]][1:]
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"{size:>8} {_spread(ours):>20} {_spread(theirs):>20} {ratio:>6.1f}", flush=True)
    await database.close()


def _fill(url: str, tenant: TenantId, size: int, rng: random.Random) -> None:
    with psycopg.connect(url) as owner:
        owner.execute("SELECT set_config('app.tenant_id', %s, true), set_config('search_path', %s, true)",
                      (str(tenant), "cloister,public"))  # fmt: skip
        row = owner.execute("INSERT INTO collections (tenant_id, name) VALUES (%s, 'kb') RETURNING collection_id",
                            (tenant,)).fetchone()  # fmt: skip
        assert row is not None
        owner.execute("INSERT INTO acl_sets (tenant_id, groups, digest) VALUES (%s, '{}', '')", (tenant,))
        owner.execute("INSERT INTO documents (tenant_id, document_id, collection_id, external_id)"
                      " VALUES (%s, %s, %s, 'd')", (tenant, tenant, row[0]))  # fmt: skip
        owner.execute("CREATE TEMP TABLE written (id uuid, ordinal int, text text) ON COMMIT DROP")
        with owner.cursor().copy("COPY written FROM STDIN") as copy:
            for ordinal in range(size):
                words = (f"w{_zipf(rng)}" for _ in range(max(10, round(rng.lognormvariate(4.5, 0.5)))))
                copy.write_row((uuid4(), ordinal, " ".join(words)))
        acl = "(SELECT acl_id FROM acl_sets WHERE tenant_id = %(tenant)s)"
        values = {"tenant": tenant, "collection": row[0]}
        owner.execute(
            "INSERT INTO chunks (tenant_id, chunk_id, document_id, version, ordinal, collection_id, acl_id, text,"
            " heading_path, context, span_start, span_end, token_count, piece_count, content_sha256)"
            f" SELECT %(tenant)s, id, %(tenant)s, 1, ordinal, %(collection)s, {acl}, text, '{{}}', '', 0, 0, 0, 0, ''"
            " FROM written",
            values,
        )
        owner.execute(
            "INSERT INTO chunk_lexemes"
            " (tenant_id, chunk_id, document_id, collection_id, acl_id, average_length, tsv, bm25)"
            f" SELECT %(tenant)s, id, %(tenant)s, %(collection)s, {acl}, 102, tsv, bm25_vector(tsv, 102)"
            " FROM written, to_tsvector('cloister.english', text) tsv",
            values,
        )
        owner.execute("UPDATE corpora SET chunk_count = %s, corpus_version = corpus_version + 1 WHERE tenant_id = %s",
                      (size, tenant))  # fmt: skip
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE cloister.chunk_lexemes")


def _zipf(rng: random.Random, *, low: int = 1) -> int:
    """A word by its rank: the n-th is as frequent as 1/n."""
    return int(low * (_WORDS / low) ** rng.random())


async def _ours(database: Database, tenant: TenantId, query: str) -> float:
    principal = Principal(
        tenant=tenant, slug="bench", key_id=UUID(int=0), kind="secret", scopes=frozenset(), groups=ALL_GROUPS
    )
    async with database.tenant(tenant, snapshot=True) as connection:
        scope = SearchScope.of(tenant, await read_corpus(connection, principal), None, None)
        started = time.perf_counter()
        plan = await lexical_plan(connection, tenant, query, {"english"})
        assert plan is not None
        await lexical_leg(connection, scope, plan, limit=50)
        return (time.perf_counter() - started) * 1000


def _theirs(owner: psycopg.Connection[Any], tenant: TenantId, query: str) -> float:
    values = {"tenant": tenant, "terms": " | ".join(query.split()), "limit": 50}
    started = time.perf_counter()
    owner.execute(_TS_RANK_CD, values).fetchall()
    return (time.perf_counter() - started) * 1000


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} ({statistics.quantiles(times, n=20)[18]:.2f})"


# ---------------------------------------------------------------- quality


async def quality(services: Services, datasets: Iterable[Dataset]) -> None:
    """Print the nDCG@10 of each."""
    print(f"\nnDCG@10 {'data set':>24} {'keyword mode':>14} {'BM25':>8} {'ts_rank_cd':>12}")
    for dataset in datasets:
        async with corpus_in_service(services, dataset, keep=True) as loaded:
            tenant = loaded.principal.tenant
            served, exact, coverage = [], [], []
            async with services.database.tenant(tenant, timeout_s=600) as connection:
                reference = Reference(await _lexemes(connection))
            for topic in dataset.answerable:
                judged = dataset.qrels[topic.id]
                query = Query(text=topic.text, mode="keyword", limit=100, explain=True)
                result = await services.searcher.search(loaded.principal, query)
                served.append(ndcg(ranking_of(documents_of(result.hits)), judged, k=10))
                lexemes = (result.explain or {})["lexical"]["lexemes"]
                exact.append(ndcg(ranking_of(reference.documents(lexemes)), judged, k=10))
                async with services.database.tenant(tenant, timeout_s=600) as connection:
                    coverage.append(ndcg(ranking_of(await _by_coverage(connection, tenant, lexemes)), judged, k=10))
        means = [float(np.mean(column)) for column in (served, exact, coverage)]
        print(f"{dataset.name:>32} {means[0]:>14.4f} {means[1]:>8.4f} {means[2]:>12.4f}", flush=True)


class Reference:
    """BM25 (Robertson & Zaragoza, 2009) of every chunk, with exact statistics; a heading's word counts twice."""

    def __init__(self, chunks: list[dict[str, Any]]) -> None:
        self._names = [chunk["external_id"] for chunk in chunks]
        lengths = np.array([sum(chunk["tf"].values()) for chunk in chunks], dtype=np.float64)
        self._norm = _K1 * (1 - _B + _B * lengths / lengths.mean())
        self._postings: dict[str, Counter[int]] = {}
        for number, chunk in enumerate(chunks):
            for lexeme, frequency in chunk["tf"].items():
                self._postings.setdefault(lexeme, Counter())[number] = frequency

    def documents(self, lexemes: list[str]) -> dict[str, float]:
        """The documents that hold any of the lexemes, by the score of their best chunk."""
        scores: NDArray[np.float64] = np.zeros(len(self._names))
        for lexeme in lexemes:
            found = self._postings.get(lexeme, Counter())
            idf = np.log(1 + (len(self._names) - len(found) + 0.5) / (len(found) + 0.5))
            for number, frequency in found.items():
                scores[number] += idf * frequency / (frequency + self._norm[number])
        best: dict[str, float] = {}
        for number in np.argsort(-scores, kind="stable")[:100]:
            if scores[number] > 0:
                best.setdefault(self._names[number], float(scores[number]))
        return best


async def _lexemes(connection: TenantConnection) -> list[dict[str, Any]]:
    rows = await connection.execute(
        "SELECT d.external_id, (SELECT jsonb_object_agg(t.lexeme, cardinality(t.positions) + "
        f"{_HEADINGS - 1} * cardinality(array_positions(t.weights, 'A'))) FROM unnest(l.tsv) t) AS tf "
        "FROM chunk_lexemes l JOIN documents d USING (tenant_id, document_id)"
    )
    return [{"external_id": row["external_id"], "tf": row["tf"] or {}} for row in await rows.fetchall()]


async def _by_coverage(connection: TenantConnection, tenant: TenantId, lexemes: list[str]) -> dict[str, float]:
    quoted = " | ".join("'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'" for lexeme in lexemes)
    rows = await connection.execute(
        f"SELECT external_id, max(score) AS score FROM ({_TS_RANK_CD}) ranked "
        "JOIN chunk_lexemes USING (chunk_id) JOIN documents USING (tenant_id, document_id) GROUP BY external_id",
        {"tenant": tenant, "terms": quoted, "limit": 100},
    )
    return {row["external_id"]: row["score"] for row in await rows.fetchall()}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="1000,10000,100000", help="sizes of the tenants; empty for no speed")
    parser.add_argument("--data", type=Path, action="append", default=[], help="a data set in BEIR's layout")
    arguments = parser.parse_args()
    if sizes := [int(size) for size in arguments.rows.split(",") if size]:
        with temporary_servers() as servers:
            migrate(servers.owner_url)
            asyncio.run(speed(servers, sizes))
    if arguments.data:
        datasets = [read_dataset(folder) for folder in arguments.data]
        with_services(lambda services: quality(services, datasets))


if __name__ == "__main__":
    main()
