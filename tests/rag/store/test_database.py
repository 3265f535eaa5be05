import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from rag.errors import DatabaseUnavailable, InvalidInput, Overloaded, SetupError, WriteConflict
from rag.store.database import Database
from rag.store.migrate import load_migrations, migrations_folder


@pytest.fixture
async def narrow(settings) -> AsyncIterator[Database]:
    """A pool of one connection: whoever comes next gets the one that was used."""
    opened = await Database.open(settings.secret("database_url"), size=1)
    yield opened
    await opened.close()


async def value(connection, text: str):
    row = await (await connection.execute(f"SELECT {text} AS value")).fetchone()
    return row["value"]


async def test_a_tenants_connection_names_its_tenant_until_it_ends(acme, bolt):
    async with acme.connect() as connection:
        assert await value(connection, "current_setting('app.tenant_id')") == str(acme.tenant)
        assert await value(connection, "current_user") == "cloister_app"
    async with acme.database.control() as connection:
        assert await value(connection, "current_setting('app.tenant_id', true)") in (None, "")
    async with bolt.connect() as connection:
        assert await value(connection, "current_setting('app.tenant_id')") == str(bolt.tenant)


async def test_many_tenants_at_once_never_see_one_another(acme, bolt, database):
    await acme.serve("doc", "ours")
    await bolt.serve("doc", "theirs")

    async def look(owner, expected: str) -> None:
        for _ in range(20):
            async with database.tenant(owner.tenant) as connection:
                rows = await (await connection.execute("SELECT text FROM chunks")).fetchall()
                assert [row["text"] for row in rows] == [expected]

    await asyncio.gather(*(look(o, t) for o, t in ((acme, "ours"), (bolt, "theirs")) for _ in range(4)))


async def test_a_snapshot_is_one_view_and_writes_nothing(acme):
    async with acme.connect(snapshot=True) as reading:
        before = await value(reading, "(SELECT count(*) FROM documents)")
        await acme.serve("doc", "text")
        assert await value(reading, "(SELECT count(*) FROM documents)") == before == 0
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await reading.execute("DELETE FROM documents")


async def test_a_connection_forgets_that_it_was_a_snapshot(narrow, acme):
    async with narrow.tenant(acme.tenant, snapshot=True) as connection:
        assert await value(connection, "current_setting('transaction_read_only')") == "on"
        assert await value(connection, "current_setting('transaction_isolation')") == "repeatable read"
    for again in (narrow.tenant(acme.tenant), narrow.control()):
        async with again as connection:
            assert await value(connection, "current_setting('transaction_read_only')") == "off"
            assert await value(connection, "current_setting('transaction_isolation')") == "read committed"


async def test_what_is_set_for_a_session_is_forgotten(narrow):
    async with narrow.pool.connection() as connection:
        await connection.execute("SET statement_timeout = 1")
        await connection.execute("SET search_path = pg_temp")
    async with narrow.control() as connection:
        assert await value(connection, "current_setting('statement_timeout')") == "20s"
        assert await value(connection, "current_setting('search_path')") == "cloister,jobs,public"
        assert await value(connection, "current_setting('plan_cache_mode')") == "force_custom_plan"
        assert await value(connection, "current_setting('jit')") == "off"


async def test_an_error_takes_the_transaction_back(acme):
    async def write() -> None:
        async with acme.connect() as connection:
            await connection.execute("DELETE FROM collections")
            raise LookupError

    with pytest.raises(LookupError):
        await write()
    async with acme.connect() as connection:
        assert await value(connection, "(SELECT count(*) FROM collections)") == 1


async def test_a_statement_past_its_time_is_ended(acme):
    async def dawdle() -> None:
        async with acme.database.tenant(acme.tenant, timeout_s=0.05) as connection:
            await connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(DatabaseUnavailable) as refusal:
        await dawdle()
    assert refusal.value.transient
    await acme.database.ping()


async def test_a_number_that_no_column_holds_is_the_callers_fault(acme):
    with pytest.raises(InvalidInput, match="too large or too close to zero"):
        async with acme.connect() as connection:
            await connection.execute("SELECT %s::text::real", ("2e-309",))
    async with acme.connect() as connection:
        await connection.execute("SELECT 1")


async def test_a_connection_that_was_cut_is_unavailable_and_replaced(acme, admin_url):
    async def be_cut() -> None:
        async with acme.connect() as connection:
            with psycopg.connect(admin_url) as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
            await connection.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await be_cut()
    await acme.database.ping()


async def test_two_writes_that_wait_for_each_other_are_told_apart_from_an_outage(acme):
    for name in ("a", "b"):
        await acme.serve(name, f"text {name}")
    ready = asyncio.Barrier(2)

    async def touch(*names: str) -> None:
        async with acme.connect() as connection:
            for name in names:
                await connection.execute("UPDATE documents SET title = 'x' WHERE external_id = %s", [name])
                if name == names[0]:
                    await ready.wait()

    ended = await asyncio.gather(touch("a", "b"), touch("b", "a"), return_exceptions=True)
    (undone,) = [error for error in ended if error is not None]
    assert isinstance(undone, WriteConflict)
    assert undone.transient


async def test_the_schema_says_how_far_it_is(database, new_database):
    assert await database.schema_version() == load_migrations(migrations_folder())[-1].version
    owner_url, _ = new_database()
    empty = await Database.open(owner_url, size=1)
    assert await empty.schema_version() is None
    await empty.require_row_security()  # there is nothing yet that could be bound
    await empty.close()


async def test_a_role_that_row_security_does_not_bind_is_refused(settings, database):
    await database.require_row_security()
    owner = await Database.open(settings.secret("migration_database_url"), size=1)
    refused = await asyncio.gather(owner.require_row_security(), return_exceptions=True)
    await owner.close()
    assert isinstance(refused[0], SetupError)
    assert "cloister_owner" in refused[0].message


async def test_when_every_connection_is_busy_the_wait_is_bounded(narrow):
    narrow.pool.timeout = 0.05
    async with narrow.control():
        with pytest.raises(Overloaded) as refusal:
            await narrow.ping()
    assert refusal.value.retry_after > 0
    await narrow.ping()


async def test_when_too_many_wait_the_next_is_turned_away_at_once(narrow):
    async with narrow.control():
        waiting = [asyncio.create_task(narrow.ping()) for _ in range(narrow.pool.max_waiting)]
        await asyncio.sleep(0.05)
        (turned_away,) = await asyncio.gather(narrow.ping(), return_exceptions=True)
    await asyncio.gather(*waiting)
    assert isinstance(turned_away, Overloaded)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path, monkeypatch):
    patient = AsyncConnectionPool.open

    async def brief(pool: AsyncConnectionPool, *, wait: bool, timeout: float) -> None:  # noqa: ASYNC109
        assert timeout > 1
        await patient(pool, wait=wait, timeout=0.1)

    monkeypatch.setattr(AsyncConnectionPool, "open", brief)
    with pytest.raises(DatabaseUnavailable, match="DATABASE_URL"):
        await Database.open(f"postgresql://cloister_app@/cloister?host={tmp_path}")
