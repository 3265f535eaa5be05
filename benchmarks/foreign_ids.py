"""Can the time of a 404 tell another tenant's id from one that nobody has? `python -m benchmarks.foreign_ids`.

Ids that exist in another tenant and ids that exist nowhere are asked for in turn, in random order, over the whole
application in one process; what is reported is both distributions, and how often one of each, drawn at random, would
be told apart by its time (50 % is a coin).
"""

import asyncio
import random
import statistics
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx

from benchmarks.noisy_neighbour import make_tenant
from ingest.worker import work
from rag.app import create_app
from rag.embedded import temporary_servers
from rag.services import Services, open_services
from rag.settings import Secret, Settings
from rag.store.migrate import migrate
from rag.telemetry import configure_logging

_ASKED = 1_500


async def main(settings: Settings) -> None:
    configure_logging("auto", "error")
    async with open_services(settings) as services:
        _, owner = await make_tenant(services, "owner")
        _, stranger = await make_tenant(services, "stranger")
        transport = httpx.ASGITransport(create_app(services=services))
        async with httpx.AsyncClient(transport=transport, base_url="http://cloister.bench", timeout=60) as client:
            paths = await _stock(services, client, owner)
            print(f"{_ASKED} of each, median (p95) in ms")
            for name, (foreign, absent) in paths.items():
                await _compare(client, stranger, name, foreign, absent)


async def _stock(services: Services, client: httpx.AsyncClient, key: str) -> dict[str, tuple[str, str]]:
    """A foreign and an absent path for each kind of thing that is asked for by its id."""
    text = {"text": "The vault of Quillhaven opens at half past four."}
    put = await client.put("/v1/collections/kb/documents/vault", json=text, headers=_bearer(key))
    await work(services, until_idle=True)
    asked = {"question": "When does the vault of Quillhaven open?"}
    answer = (await client.post("/v1/answers", json=asked, headers=_bearer(key))).json()
    nobody = str(uuid4())
    return {
        "document": ("/v1/collections/kb/documents/vault", "/v1/collections/kb/documents/vaulx"),
        "versions": ("/v1/collections/kb/documents/vault/versions", "/v1/collections/kb/documents/vaulx/versions"),
        "job": (f"/v1/jobs/{put.json()['job_id']}", f"/v1/jobs/{nobody}"),
        "answer": (f"/v1/answers/{answer['id']}", f"/v1/answers/{nobody}"),
    }


async def _compare(client: httpx.AsyncClient, key: str, name: str, foreign: str, absent: str) -> None:
    order = [foreign, absent] * _ASKED
    random.Random(20).shuffle(order)  # noqa: S311 - an order, not a secret
    times: dict[str, list[float]] = {foreign: [], absent: []}
    bodies = {}
    for path in order:
        started = time.perf_counter()
        response = await client.get(path, headers=_bearer(key))
        times[path].append((time.perf_counter() - started) * 1000)
        assert response.status_code == 404, response.text
        bodies[path] = {**response.json(), "request_id": "", "instance": ""}
    assert str(bodies[foreign]).replace("vault", "vaulx") == str(bodies[absent])
    shown = "   ".join(f"{label} {_summary(times[path])}" for label, path in (("foreign", foreign), ("absent", absent)))
    print(f"  {name:<9} {shown}   told apart {_told_apart(times[foreign], times[absent]):.1%}")


def _summary(times: list[float]) -> str:
    return f"{statistics.median(times):.3f} ({statistics.quantiles(times, n=20)[18]:.3f})"


def _told_apart(first: list[float], second: list[float]) -> float:
    """The chance that the better of the two rules 'the slower is foreign' and 'the faster is' is right."""
    ordered = sorted(second)
    below = sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in first) / 2
    area = below / (len(first) * len(second))
    return max(area, 1 - area)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


if __name__ == "__main__":
    with temporary_servers() as servers, TemporaryDirectory() as folder:
        migrate(servers.owner_url)
        asyncio.run(
            main(
                Settings(
                    data_dir=Path(folder),
                    database_url=Secret(servers.app_url),
                    redis_url=Secret(servers.redis_url or ""),
                    limit_unknown_ids=0,  # which would slow down whoever asks so often
                )
            )
        )
