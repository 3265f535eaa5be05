"""Search and ingestion beside their floors, in one run: `make bench`.

The floor of a search is what cannot be saved: one query embedding and the two SQL legs, run bare on an open
connection. The floor of ingestion is the encoder alone on the same chunks. Ratios are the figures; milliseconds are
there to judge them by.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import msgspec

from ingest.load import Load
from ingest.source import source_files
from ingest.worker import work
from rag.domain import Query, Scope, TenantId
from rag.embedded import temporary_servers
from rag.services import Services, open_services
from rag.settings import Secret, Settings
from rag.store.collections import create_collection
from rag.store.corpus import read_corpus, read_writing, refresh_statistics
from rag.store.ingestion import Submission, submit
from rag.store.migrate import migrate
from rag.store.search import SearchScope, dense_leg, lexical_leg, lexical_plan
from rag.store.tenants import create_tenant
from rag.tenancy import Principal

_DEMO = Path(str(files("ingest"))) / "demo"
_QUERIES = 150


async def main(settings: Settings) -> None:
    async with open_services(settings) as services:
        principal = await _tenant(services)
        await _queue(services, principal.tenant)
        started = time.perf_counter()
        await work(services, until_idle=True)
        ingested = time.perf_counter() - started
        async with services.database.tenant(principal.tenant) as connection:
            await refresh_statistics(connection, principal.tenant)
            rows = await (
                await connection.execute(
                    "SELECT array_to_string(heading_path, ' › ') || E'\\n' || text AS text, "
                    "(SELECT count(*) FROM chunk_sentences_minilm_l6_v2 s WHERE s.chunk_id = c.chunk_id) AS sentences "
                    "FROM chunks c"
                )
            ).fetchall()
        _ingestion(services, [row["text"] for row in rows], sum(row["sentences"] for row in rows), ingested)
        await _search(services, principal)


async def _tenant(services: Services) -> Principal:
    async with services.database.control() as control:
        made = await create_tenant(control, "bench")
    tenant = TenantId(made.tenant_id)
    async with services.database.tenant(tenant) as connection:
        await create_collection(connection, tenant, "help")
        await create_collection(connection, tenant, "products")
    return Principal(tenant=tenant, slug="bench", key_id=UUID(int=0), kind="secret", scopes=frozenset(Scope))


async def _queue(services: Services, tenant: TenantId) -> None:
    articles = list(source_files([_DEMO / "lumen" / "help"]))
    await Load(services, tenant, "help").queue(articles, follow=lambda _: None)
    async with services.database.tenant(tenant) as connection:
        version = (await read_writing(connection, tenant)).chunker_version
        for number, item in enumerate(_products()):
            product = Submission(
                external_id=item["external_id"],
                body=item["text"].encode(),
                media_type="text/plain",
                title=item["title"],
            )
            await submit(
                connection, services.delivery, tenant, "products", product, chunker_version=version, backlog=number
            )


def _products() -> list[dict[str, str]]:
    lines = (_DEMO / "harbor" / "catalogue.jsonl").read_text("utf-8").splitlines()
    return [msgspec.json.decode(line) for line in lines]


def _ingestion(services: Services, chunks: list[str], sentences: int, seconds: float) -> None:
    started = time.perf_counter()
    services.encoder.embed_sync(chunks)
    bare = time.perf_counter() - started
    print(f"\ningestion: {len(chunks)} chunks with {sentences} sentences")
    print(f"  pipeline      {len(chunks) / seconds:8.1f} chunks/s (parse, chunk, embed chunks and sentences, write)")
    print(f"  bare encoder  {len(chunks) / bare:8.1f} chunks/s (the chunks alone)")
    print(f"  ratio         {bare / seconds:8.2f}")


async def _search(services: Services, principal: Principal) -> None:
    queries = [f"{item['title']} {item['text'].split('. ')[1][:60]}" for item in _products()][:_QUERIES]
    await _floor(services, principal, "warm up")
    await services.searcher.search(principal, Query(text="warm up"))
    floor, cold, cached = [], [], []
    for text in queries:
        floor.append(await _floor(services, principal, text))
        query = Query(text=text)
        cold.append(await _timed(services.searcher.search(principal, query)))
        cached.append(await _timed(services.searcher.search(principal, query)))
    print(f"\nsearch: {len(queries)} queries, hybrid, 10 hits, median (p95) in ms")
    for name, times in (("floor", floor), ("cold", cold), ("cached", cached)):
        print(f"  {name:<8} {statistics.median(times):7.2f} ({statistics.quantiles(times, n=20)[18]:.2f})")
    print(f"  cold / floor    {statistics.median(cold) / statistics.median(floor):.2f}")
    print(f"  cached / cold   {statistics.median(cached) / statistics.median(cold):.2f}")


async def _floor(services: Services, principal: Principal, text: str) -> float:
    """Milliseconds of the embedding and of the legs; what stands between them is the service's own."""
    started = time.perf_counter()
    vector = await services.encoder.embed_query(text)
    embedded = time.perf_counter() - started
    async with services.database.tenant(principal.tenant, snapshot=True) as connection:
        corpus = await read_corpus(connection, principal)
        scope = SearchScope.of(principal.tenant, corpus, None, None)
        plan = await lexical_plan(connection, principal.tenant, text, {"english"})
        assert plan is not None
        started = time.perf_counter()
        await dense_leg(connection, scope, vector, limit=50)
        await lexical_leg(connection, scope, plan, limit=50)
        return (embedded + time.perf_counter() - started) * 1000


async def _timed(call: Awaitable[object]) -> float:
    started = time.perf_counter()
    await call
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    with temporary_servers() as servers, TemporaryDirectory() as folder:
        migrate(servers.owner_url)
        asyncio.run(
            main(
                Settings(
                    data_dir=Path(folder),
                    database_url=Secret(servers.app_url),
                    redis_url=Secret(servers.redis_url or ""),
                )
            )
        )
