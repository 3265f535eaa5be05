"""What erasure knows of the schema, held against the schema."""

import psycopg
import pytest
from psycopg import sql

from rag.errors import SetupError
from rag.store import erasure
from rag.store.erasure import Store, stores_of, subject_digest
from tests.rag.store.test_row_level_security import TENANT_TABLES


@pytest.fixture
def owner(owner_url):
    options = "-c search_path=cloister,jobs,public"
    with psycopg.connect(owner_url, autocommit=True, options=options) as connection:
        yield connection


async def stores(database) -> list[Store]:
    async with database.control() as control:
        return await stores_of(control)


async def test_erasure_knows_every_table_of_tenants(database, owner):
    tables = [name for (name,) in owner.execute(TENANT_TABLES).fetchall()]
    assert sorted(store.table for store in await stores(database)) == sorted(tables)


async def test_a_table_that_erasure_does_not_know_stops_it_before_it_begins(database, owner, acme):
    owner.execute("CREATE TABLE cloister.secrets (tenant_id uuid NOT NULL, text text)")
    owner.execute("GRANT SELECT ON cloister.secrets TO cloister_app")
    with pytest.raises(SetupError, match="secrets"):
        await stores(database)


async def test_the_tables_of_a_new_space_are_known_by_their_names(database, owner):
    owner.execute("SELECT cloister.create_embedding_space('other', 'm', '1', 8, '1')")
    found = {store.table: store for store in await stores(database)}
    assert found["embeddings_other"].document
    assert found["chunk_sentences_other"].document


async def test_what_refers_to_a_row_is_removed_before_it(database, owner):
    order = [store.table for store in await stores(database)]
    references = owner.execute(
        "SELECT c.relname, p.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
        "JOIN pg_class p ON p.oid = k.confrelid WHERE k.contype = 'f' AND c.relnamespace = 'cloister'::regnamespace "
        "AND NOT c.relispartition AND p.relname <> 'embedding_spaces'"
    ).fetchall()
    assert len(references) > 10
    assert [pair for pair in references if order.index(pair[0]) > order.index(pair[1])] == []


async def test_what_the_app_role_may_not_delete_is_left_to_the_owners_function(database, owner):
    for store in await stores(database):
        may = owner.execute(
            "SELECT has_table_privilege('cloister_app', %s, 'DELETE')", [f"cloister.{store.table}"]
        ).fetchone()
        assert may == (not (store.by_owner or store.kept),), store.table


async def test_a_store_of_documents_or_people_has_a_way_to_find_theirs(database, owner):
    """A table with a document's id or a person's name in it is cleared of them, or the erasure of one would miss it."""
    columns: dict[str, set[str]] = {}
    for table, column in owner.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'cloister'"
    ).fetchall():
        columns.setdefault(table, set()).add(column)
    for store in await stores(database):
        if columns[store.table] & {"document_id", "document_ids", "chunk_id", "run_id"}:
            assert store.document, store.table
            assert erasure._of_document(store), store.table
        if "asked_by" in columns[store.table]:
            assert store.user, store.table


async def test_the_queue_is_cleared_of_one_tenant(acme, bolt, owner):
    for one in (acme, bolt):
        await one.put("d", "waits")
    async with acme.connect() as connection:
        assert await erasure.clear_queue(connection, acme.tenant) == {erasure.QUEUE: 1}
    left = owner.execute(sql.SQL("SELECT args ->> 'tenant' FROM jobs.procrastinate_jobs")).fetchall()
    assert left == [(str(bolt.tenant),)]


async def test_a_delivery_in_a_workers_hands_is_left_to_the_worker(acme, owner):
    await acme.put("d", "under way")
    owner.execute("UPDATE jobs.procrastinate_jobs SET status = 'doing'")
    async with acme.connect() as connection:
        assert await erasure.clear_queue(connection, acme.tenant) == {erasure.QUEUE: 0}


def test_a_digest_tells_kinds_tenants_and_names_apart(absent_id):
    digests = {
        subject_digest("user", absent_id, "a"),
        subject_digest("tenant", absent_id, "a"),
        subject_digest("document", absent_id, "a", "b"),
        subject_digest("document", absent_id, "b", "a"),
    }
    assert len(digests) == 4
