from rag.domain import TenantId
from rag.store.probes import definer_functions, rows_of, take_turn, tenant_tables


async def test_the_tables_of_tenants_are_all_named(database):
    async with database.control() as control:
        tables = await tenant_tables(control)
    assert {"documents", "chunks", "api_keys", "embeddings_minilm_l6_v2_default"} <= set(tables)
    assert "embedding_spaces" not in tables


async def test_without_a_tenant_no_table_can_be_read(database, acme):
    async with database.control() as control:
        for table in await tenant_tables(control):
            assert await rows_of(control, table) is None, table


async def test_a_tenant_is_shown_its_own_rows_alone(database, acme, bolt, absent_id):
    await acme.serve("one", "A brake lever.", title="quokka")
    async with acme.connect() as connection:
        assert "quokka" in str(await rows_of(connection, "documents"))
    for other in (bolt.tenant, TenantId(absent_id)):
        async with database.tenant(other) as connection:
            assert await rows_of(connection, "documents") == []
            assert await rows_of(connection, "embeddings_minilm_l6_v2_default") is None
            assert await rows_of(connection, "documents") == [], "a refusal does not end the transaction"


async def test_the_functions_past_row_level_security_are_named(database):
    async with database.control() as control:
        assert {"authenticate", "lexical_candidates"} <= set(await definer_functions(control))


async def test_the_turn_is_one_transactions_at_a_time(database):
    async with database.control() as first, database.control() as second:
        assert await take_turn(first)
        assert not await take_turn(second)
    async with database.control() as third:
        assert await take_turn(third)
