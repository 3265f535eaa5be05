"""What was begun is finished by a worker, and what is due is purged by one."""

import msgspec

from ingest.housekeeping import finish_erasures, purge_due
from rag.cache.redis import RedisCache
from rag.erasure import Eraser
from rag.services import Services
from rag.store.erasure import open_erasures
from tests.conftest import House


async def left(services: Services) -> int:
    async with services.database.control() as control:
        return len(await open_erasures(control))


async def test_erasures_that_were_begun_are_finished(services: Services, house: House, other: House):
    await house.ingest({"d": "The lever."})
    await other.ingest({"d": "The wheel."})
    await services.eraser.begin_tenant(house.slug)
    await services.eraser.begin_document(other.slug, "kb", "d")
    await services.eraser.begin_user(other.slug, "someone")
    assert await left(services) == 3
    assert await finish_erasures(services) == 0
    assert await left(services) == 0


async def test_an_erasure_waits_for_a_cache_that_is_away_and_holds_up_no_other(services, house, other, tmp_path):
    away = RedisCache(f"unix://{tmp_path}/none.sock", max_value_bytes=100)
    waiting = Services(**{**vars(services), "eraser": Eraser(services.database, away, approvals_required=False)})
    await services.eraser.begin_user(house.slug, "someone")
    await services.eraser.begin_user(other.slug, "someone")
    assert await finish_erasures(waiting) == 2
    async with services.database.control() as control:
        assert {erasure.step for erasure in await open_erasures(control)} == {"cache"}
    assert await finish_erasures(services) == 0
    await away.close()


async def test_purges_are_done_when_they_are_due(services: Services, house: House):
    standing = msgspec.structs.replace(services.purger.standing, answers_days=1)
    assert standing.answers_days == 1
    assert await purge_due(services) == 1
    assert await purge_due(services) == 0
