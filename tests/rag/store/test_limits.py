import pytest

from rag.domain import Limits, TenantId
from rag.errors import NotFound
from rag.store.limits import change_limits, read_limits


async def test_a_tenant_begins_without_limits_of_its_own(acme):
    async with acme.connect() as connection:
        assert await read_limits(connection, acme.tenant) == Limits()


async def test_what_is_not_named_stays(acme):
    async with acme.connect() as connection:
        assert await change_limits(connection, acme.tenant, {"key_units": 5, "user_units": 0}) == Limits(
            key_units=5, user_units=0
        )
        changed = await change_limits(connection, acme.tenant, {"key_units": None, "concurrency": 2})
        assert changed == Limits(user_units=0, concurrency=2)
        assert await change_limits(connection, acme.tenant, {}) == changed
    async with acme.connect() as connection:
        assert await read_limits(connection, acme.tenant) == changed


async def test_limits_of_one_are_not_anothers(acme, bolt):
    async with acme.connect() as connection:
        await change_limits(connection, acme.tenant, {"key_units": 5})
        assert await read_limits(connection, bolt.tenant) == Limits()


async def test_a_tenant_that_is_gone(database, absent_id):
    gone = TenantId(absent_id)
    with pytest.raises(NotFound):
        async with database.tenant(gone) as connection:
            await change_limits(connection, gone, {"key_units": 5})
