"""Searches of one tenant while another loads documents or storms: `python -m benchmarks.noisy_neighbour`.

The API and the worker run as they do in service, each in a process of its own. Tenant B searches at a steady pace,
each query once, so that no cache answers; a search that starts late because the one before was slow counts from when
it was due. The figures are ratios of B's own percentiles, with and without A at work, in one run.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx
import msgspec

from ingest.worker import work
from rag.domain import Scope, TenantId
from rag.embedded import temporary_servers
from rag.services import Services, open_services
from rag.settings import Secret, Settings
from rag.store.collections import create_collection
from rag.store.corpus import read_writing, refresh_statistics
from rag.store.ingestion import Submission, submit
from rag.store.keys import create_key
from rag.store.migrate import migrate
from rag.store.tenants import create_tenant

_CATALOGUE = Path(str(files("ingest"))) / "demo" / "harbor" / "catalogue.jsonl"
_SEARCHES = 200
_PAUSE_S = 0.1
_BACKLOG = 4_000
_STORMERS = 8


async def main(settings: Settings, port: int) -> None:
    products = [msgspec.json.decode(line) for line in _CATALOGUE.read_text("utf-8").splitlines()]
    async with open_services(settings) as services:
        quiet, quiet_key = await make_tenant(services, "quiet")
        noisy, noisy_key = await make_tenant(services, "noisy")
        await _queue(services, quiet, products, copies=1)
        await work(services, until_idle=True)
        async with services.database.tenant(quiet) as connection:
            await refresh_statistics(connection, quiet)
    with _running(settings, port) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            await _ready(client)
            await _searches(client, quiet_key, products)  # warms every cache that is not of queries
            idle = await _searches(client, quiet_key, products)
            storm = asyncio.create_task(_storm(client, noisy_key, products))
            stormed = await _searches(client, quiet_key, products)
            storm.cancel()
            async with open_services(settings) as services:
                await _queue(services, noisy, products, copies=_BACKLOG // len(products))
            await asyncio.sleep(3)
            loaded = await _searches(client, quiet_key, products)
            left = (await client.get("/v1/jobs?status=queued&limit=1", headers=_bearer(noisy_key))).json()["data"]
            assert left, "the load ended before the searches did: raise _BACKLOG"
    print(f"{_SEARCHES} searches of B, one each {_PAUSE_S * 1000:.0f} ms; {os.cpu_count()} cores; p50 (p95) in ms")
    for name, times in (("B alone", idle), ("A storms", stormed), ("A loads", loaded)):
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[18]
        ratio = p95 / statistics.quantiles(idle, n=20)[18]
        print(f"  {name:<9} {p50 * 1000:7.1f} ({p95 * 1000:.1f})   p95 / idle p95 {ratio:.2f}")


async def make_tenant(services: Services, slug: str) -> tuple[TenantId, str]:
    """A tenant with a collection, and a key of it for everything."""
    async with services.database.control() as control:
        tenant = TenantId((await create_tenant(control, slug)).tenant_id)
    async with services.database.tenant(tenant) as connection:
        await create_collection(connection, tenant, "kb")
        key, _ = await create_key(connection, tenant, scopes=list(Scope))
    return tenant, key


async def _queue(services: Services, tenant: TenantId, products: list[dict[str, str]], *, copies: int) -> None:
    for number in range(copies):
        async with services.database.tenant(tenant, timeout_s=120) as connection:
            version = (await read_writing(connection, tenant)).chunker_version
            for backlog, item in enumerate(products, number * len(products)):
                document = Submission(
                    external_id=f"{item['external_id']}-{number}",
                    body=f"{item['text']} Batch {number}.".encode(),
                    media_type="text/plain",
                    title=item["title"],
                )
                await submit(
                    connection, services.delivery, tenant, "kb", document, chunker_version=version, backlog=backlog
                )


async def _searches(client: httpx.AsyncClient, key: str, products: list[dict[str, str]]) -> list[float]:
    """Seconds of each search, from when it was due."""
    begun, times = time.perf_counter(), []
    for number in range(_SEARCHES):
        due = begun + number * _PAUSE_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await _search(client, key, products[number % len(products)])
        times.append(time.perf_counter() - due)
    return times


async def _storm(client: httpx.AsyncClient, key: str, products: list[dict[str, str]]) -> None:
    async def one(first: int) -> None:
        for number in range(first, 1_000_000):
            await _search(client, key, products[number % len(products)], may_be_refused=True)

    await asyncio.gather(*(one(number) for number in range(_STORMERS)))


async def _search(
    client: httpx.AsyncClient, key: str, product: dict[str, str], *, may_be_refused: bool = False
) -> None:
    body = {"query": f"{product['title']} {uuid4().hex[:6]}"}
    response = await client.post("/v1/search", json=body, headers=_bearer(key))
    assert response.status_code == 200 or (may_be_refused and response.status_code in {429, 503}), response.text


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def _running(settings: Settings, port: int) -> Iterator[str]:
    environment = {
        **os.environ,
        "CLOISTER_DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.secret("database_url"),
        "REDIS_URL": settings.secret("redis_url"),
        "CLOISTER_LOG_LEVEL": "error",
    }
    program = [sys.executable, "-m", "ingest.cli"]
    api = subprocess.Popen([*program, "serve", "--port", str(port)], env=environment)  # noqa: S603 - ourselves
    worker = subprocess.Popen([*program, "worker"], env=environment)  # noqa: S603 - ourselves
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in (api, worker):
            process.terminate()
            process.wait(60)


async def _ready(client: httpx.AsyncClient) -> None:
    for _ in range(300):
        try:
            if (await client.get("/health/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)
    raise AssertionError("the service did not become ready")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    with temporary_servers() as servers, TemporaryDirectory() as folder:
        migrate(servers.owner_url)
        asyncio.run(
            main(
                Settings(
                    data_dir=Path(folder),
                    database_url=Secret(servers.app_url),
                    redis_url=Secret(servers.redis_url or ""),
                ),
                _free_port(),
            )
        )
