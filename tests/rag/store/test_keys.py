from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from rag.domain import Scope
from rag.errors import Forbidden, NotFound
from rag.keys import digest_key
from rag.store.keys import (
    authenticate,
    create_key,
    create_operator_key,
    list_keys,
    list_operator_keys,
    revoke_key,
    revoke_operator_key,
)
from rag.tenancy import Operator

PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def whom(database, key: str):
    async with database.control() as control:
        return await authenticate(control, digest_key(key))


async def test_a_key_stands_for_its_tenant_and_what_it_may_do(acme):
    async with acme.connect() as connection:
        key, key_id = await create_key(
            connection, acme.tenant, scopes=[Scope.SEARCH, Scope.INGEST], groups=["staff", "board", "staff"]
        )
    principal = await whom(acme.database, key)
    assert key.startswith("clo_sk_")
    assert (principal.tenant, principal.slug, principal.key_id) == (acme.tenant, "acme", key_id)
    assert (principal.kind, principal.scopes) == ("secret", {"search", "ingest"})
    assert principal.groups == ("board", "staff")


async def test_the_key_itself_is_nowhere_in_the_database(acme, admin_url):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant)
    with psycopg.connect(admin_url) as admin:
        stored = admin.execute("SELECT k::text FROM cloister.api_keys k").fetchall()
    assert key[7:] not in repr(stored)
    assert key[14:30] not in repr(stored)


async def test_a_publishable_key_searches_and_nothing_else(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant, kind="publishable", scopes=[Scope.SEARCH])
        for scopes in ([Scope.ANSWER], [Scope.SEARCH, Scope.INGEST], []):
            with pytest.raises(Forbidden):
                await create_key(connection, acme.tenant, kind="publishable", scopes=scopes)
    principal = await whom(acme.database, key)
    assert (principal.kind, principal.scopes) == ("publishable", {"search"})


async def test_a_revoked_key_stands_for_nobody_and_stays_on_the_list(acme):
    async with acme.connect() as connection:
        key, key_id = await create_key(connection, acme.tenant)
        _, other = await create_key(connection, acme.tenant)
        await revoke_key(connection, acme.tenant, key_id)
        first = {entry.key_id: entry.revoked_at for entry in await list_keys(connection, acme.tenant)}
        await revoke_key(connection, acme.tenant, key_id)
        again = {entry.key_id: entry.revoked_at for entry in await list_keys(connection, acme.tenant)}
    assert first == again
    assert first[key_id] is not None
    assert first[other] is None
    assert await whom(acme.database, key) is None


async def test_an_expired_key_stands_for_nobody(acme):
    async with acme.connect() as connection:
        old, _ = await create_key(connection, acme.tenant, expires_at=PAST)
        young, _ = await create_key(connection, acme.tenant, expires_at=datetime.now(UTC) + timedelta(days=1))
    assert await whom(acme.database, old) is None
    assert await whom(acme.database, young)


async def test_another_tenants_key_is_not_found(acme, bolt):
    async with bolt.connect() as connection:
        key, key_id = await create_key(connection, bolt.tenant)
    async with acme.connect() as connection:
        with pytest.raises(NotFound):
            await revoke_key(connection, acme.tenant, key_id)
        assert await list_keys(connection, acme.tenant) == []
    assert await whom(acme.database, key)


async def test_use_is_noted(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant)
    await whom(acme.database, key)
    async with acme.connect() as connection:
        (entry,) = await list_keys(connection, acme.tenant)
    assert entry.last_used_at is not None


async def test_a_listed_key_shows_no_more_than_its_beginning(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant, name="widget")
        (entry,) = await list_keys(connection, acme.tenant)
    assert entry.name == "widget"
    assert entry.display == key[:13] + "…"


async def test_an_operator_key_belongs_to_no_tenant(acme):
    async with acme.database.control() as control:
        key, key_id = await create_operator_key(control, name="ops")
        (entry,) = await list_operator_keys(control)
    assert (entry.key_id, entry.kind, entry.name, entry.scopes) == (key_id, "operator", "ops", ["manage"])
    assert await whom(acme.database, key) == Operator(key_id)
    async with acme.connect() as connection:
        assert await list_keys(connection, acme.tenant) == []


async def test_operators_keys_and_tenants_keys_are_revoked_by_their_own(acme):
    async with acme.connect() as connection:
        key, key_id = await create_key(connection, acme.tenant)
    async with acme.database.control() as control:
        operator, operator_id = await create_operator_key(control)
        with pytest.raises(NotFound):
            await revoke_operator_key(control, key_id)
    async with acme.connect() as connection:
        with pytest.raises(NotFound):
            await revoke_key(connection, acme.tenant, operator_id)
    assert await whom(acme.database, key)
    assert await whom(acme.database, operator)
    async with acme.database.control() as control:
        await revoke_operator_key(control, operator_id)
    assert await whom(acme.database, operator) is None


async def test_an_unknown_digest_stands_for_nobody(database):
    async with database.control() as control:
        assert await authenticate(control, bytes(32)) is None
