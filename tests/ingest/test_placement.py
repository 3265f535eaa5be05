"""Tenants are moved by the worker, found by it, one at a time, and a job that has to wait comes back."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from ingest.failures import TryAgain
from ingest.placement import place
from ingest.worker import _deliver_misplaced, work
from rag.domain import Query
from rag.services import Services, open_services
from rag.settings import Settings
from rag.store.documents import delete_document
from rag.store.partitions import Placement, build_partition, read_placement
from tests.conftest import House, make_house

SPACE = "minilm_l6_v2"
LONG = "\n\n".join(f"## Part {n}\n\nThe lever number {n} moves the brake of wheel {n}." for n in range(30))


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """A process for which more than four chunks are many, and none are few."""
    async with open_services(msgspec.structs.replace(settings, partition_chunks=4)) as opened:
        yield opened


async def placement(house: House) -> Placement:
    async with house.services.database.tenant(house.tenant) as connection:
        return await read_placement(connection, house.tenant, SPACE)


async def queued(services: Services) -> int:
    async with services.database.control() as connection:
        text = "SELECT count(*) AS n FROM jobs.procrastinate_jobs WHERE task_name = 'ingest.placement'"
        row = await (await connection.execute(text)).fetchone()
    assert row is not None
    return int(row["n"])


async def test_the_worker_gives_a_grown_tenant_a_partition_and_takes_it_from_one_that_has_shrunk(house: House):
    await house.ingest({f"doc-{n}": LONG for n in range(2)})
    assert (await placement(house)).chunks > 4
    before = await house.services.searcher.search(
        house.principal, Query(text="lever of wheel 7", limit=5, explain=True)
    )
    await _deliver_misplaced(house.services)
    await work(house.services, until_idle=True)
    assert (await placement(house)).attached
    after = await house.services.searcher.search(house.principal, Query(text="lever of wheel 7", limit=5, explain=True))
    assert [hit.chunk_id for hit in after.hits] == [hit.chunk_id for hit in before.hits]
    assert (before.explain or {})["dense"]["plan"] == "exact"
    assert (after.explain or {})["dense"]["plan"] == "partition"

    async with house.services.database.tenant(house.tenant) as connection:
        for n in range(2):
            await delete_document(connection, house.tenant, "kb", f"doc-{n}")
    await _deliver_misplaced(house.services)
    await work(house.services, until_idle=True)
    assert await placement(house) == Placement(0, built=False, attached=False)


async def test_one_job_is_queued_for_a_tenant_however_often_somebody_looks(house: House):
    await house.ingest({f"doc-{n}": LONG for n in range(2)})
    # The worker that ingested may have looked already.
    await _deliver_misplaced(house.services)
    await _deliver_misplaced(house.services)
    assert await queued(house.services) == 1


async def test_a_move_waits_for_the_one_under_way(house: House, other: House):
    database = house.services.database
    for one in (house, other):
        await one.ingest({f"doc-{n}": LONG for n in range(2)})
    async with database.tenant(house.tenant) as connection:
        assert await build_partition(connection, house.tenant, SPACE) == "built"
        with pytest.raises(TryAgain):
            await place(database, other.tenant, SPACE, partition_chunks=4)
    await place(database, other.tenant, SPACE, partition_chunks=4)
    assert (await placement(other)).attached
    assert (await placement(house)).built
    await place(database, house.tenant, SPACE, partition_chunks=4)
    assert (await placement(house)).attached


async def test_a_tenant_that_is_where_it_belongs_is_left_alone(house: House):
    await house.ingest({"doc": "The lever moves."})
    await place(house.services.database, house.tenant, SPACE, partition_chunks=4)
    assert not (await placement(house)).built


async def test_a_killed_job_is_done_by_the_next(house: House):
    database = house.services.database
    await house.ingest({f"doc-{n}": LONG for n in range(2)})
    async with database.tenant(house.tenant) as connection:
        await build_partition(connection, house.tenant, SPACE)  # and then the worker was killed
    await house.ingest({"more": LONG})
    await place(database, house.tenant, SPACE, partition_chunks=4)
    now = await placement(house)
    assert now.attached
    result = await house.services.searcher.search(house.principal, Query(text="lever", limit=100, mode="semantic"))
    assert len(result.hits) == min(100, now.chunks)


async def test_moves_of_different_tenants_at_once_come_to_an_end(services: Services):
    houses = [await make_house(services, slug) for slug in ("one", "two", "three")]
    for house in houses:
        await house.ingest({f"doc-{n}": LONG for n in range(2)})

    async def until_placed(house: House) -> None:
        while True:
            try:
                await place(services.database, house.tenant, SPACE, partition_chunks=4)
            except TryAgain:
                await asyncio.sleep(0.05)
            else:
                return

    async with asyncio.timeout(60):
        await asyncio.gather(*(until_placed(house) for house in houses))
    assert all([(await placement(house)).attached for house in houses])
