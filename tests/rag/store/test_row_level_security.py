"""What the catalogue says about who may see what, and what PostgreSQL does when it is tried."""

import re
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import psycopg
import pytest
from pgvector import SparseVector
from psycopg import sql
from psycopg.rows import dict_row

from rag.domain import TenantId
from rag.store.statements import statement
from tests.rag.store.conftest import undone

POLICY = "(tenant_id = (current_setting('app.tenant_id'::text))::uuid)"
TENANTLESS = {"embedding_spaces"}  # the registry of models: the same for all, and read-only
DEFINERS = {  # each runs with its owner's rights: add one here only with a test of what it lets through
    "activate_embedding_space",
    "append_audit",
    "audit_heads",
    "audit_page",
    "authenticate",
    "authenticate_widget",
    "claim_purges",
    "close_tenant",
    "count_rows",
    "decide_approval",
    "embedding_space_usage",
    "find_erasures",
    "known_keys",
    "list_approvals",
    "purge_approvals",
    "read_approval",
    "request_approval",
    "use_approval",
    "create_operator_key",
    "create_tenant",
    "delete_tenant",
    "forget_requests",
    "attach_partition",
    "build_partition",
    "catch_up_partition",
    "dissolve_partition",
    "ingest_backlog",
    "lexical_candidates",
    "lexical_matches",
    "near_words",
    "word_counts",
    "undelivered_runs",
    "list_operator_keys",
    "list_tenants",
    "operator_keys",
    "origin_listed",
    "resolve_tenant",
    "misplaced_tenants",
    "partition_totals",
    "revoke_operator_key",
    "rotate_operator_key",
}
WRITE_ONLY = {"signing_secrets"}  # the serving role puts them in and never reads them
CONTROLLED = """SELECT c.oid::regclass::text AS name, c.relname, c.relrowsecurity, c.relispartition
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'cloister' AND c.relkind IN ('r', 'p') ORDER BY 1"""
TENANT_TABLES = """SELECT c.table_name AS name FROM information_schema.columns c
    JOIN pg_class k ON k.oid = format('%I.%I', c.table_schema, c.table_name)::regclass AND NOT k.relispartition
    WHERE c.table_schema = 'cloister' AND c.column_name = 'tenant_id' ORDER BY 1"""

in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def catalogue(shared_settings) -> Iterator[psycopg.Connection]:
    """The tables' owner: it sees every grant."""
    url = shared_settings.secret("migration_database_url")
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def app(tenants, shared_settings) -> AsyncIterator[psycopg.AsyncConnection]:
    """The app role on a connection of its own, in a transaction of its own."""
    url = shared_settings.secret("database_url")
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        yield connection
        await connection.rollback()


def test_every_table_of_tenants_is_under_row_level_security(catalogue, tenants):
    tables = catalogue.execute(CONTROLLED).fetchall()
    open_tables = {table["relname"] for table in tables if not table["relrowsecurity"]}
    leaves = {table["relname"] for table in tables if table["relispartition"]}
    assert open_tables == TENANTLESS | {"embeddings_minilm_l6_v2_default"}
    assert len(leaves) == 3, "the default partition, and each tenant's own"
    assert {leaf for leaf in leaves if re.fullmatch(r"partition_\d+", leaf)} == leaves - open_tables


def test_every_policy_is_the_plain_one(catalogue):
    rows = catalogue.execute("SELECT * FROM pg_policies WHERE schemaname = 'cloister'").fetchall()
    policies = {row["tablename"]: (row["permissive"], row["roles"], row["cmd"], row["qual"]) for row in rows}
    names = {row["name"] for row in catalogue.execute(TENANT_TABLES).fetchall()}
    assert len(names) >= 15
    assert policies == dict.fromkeys(names, ("PERMISSIVE", ["public"], "ALL", POLICY))
    assert len(rows) == len(names), "a second permissive policy would open what the first one closes"


def test_the_tenant_leads_every_key(catalogue):
    rows = catalogue.execute(
        "SELECT i.indexrelid::regclass::text AS name, a.attname FROM pg_index i "
        "JOIN pg_class t ON t.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0] "
        "WHERE t.relnamespace = 'cloister'::regnamespace AND a.attname <> 'tenant_id' AND EXISTS (SELECT FROM "
        "pg_attribute k WHERE k.attrelid = t.oid AND k.attname = 'tenant_id') "
        "AND t.relname !~ '^partition_'"  # one tenant's own
    ).fetchall()
    # What is looked for before the tenant is known: the key of a tenant and of a credential, by id, digest and slug,
    # and a page's origin, which a preflight names without a key; and what an operator reads of all tenants: the audit
    # trail, by time.
    assert {row["name"] for row in rows} == {
        "cloister.api_keys_digest_key",
        "cloister.api_keys_origins",
        "cloister.api_keys_pkey",
        "cloister.audit_events_time",
        "cloister.tenants_slug_key",
    }


def test_the_app_role_has_no_powers(catalogue):
    role = catalogue.execute("SELECT * FROM pg_roles WHERE rolname = 'cloister_app'").fetchone()
    assert [name for name in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb") if role[name]] == []
    assert catalogue.execute("SELECT 1 FROM pg_auth_members WHERE member = 'cloister_app'::regrole").fetchall() == []
    assert role["rolconfig"] == ["plan_cache_mode=force_custom_plan"]


def test_the_app_role_owns_nothing_and_makes_nothing(catalogue):
    owned = catalogue.execute(
        "SELECT classid::regclass, objid FROM pg_shdepend WHERE deptype = 'o' AND refobjid = 'cloister_app'::regrole"
    ).fetchall()
    assert owned == []
    creates = catalogue.execute(
        "SELECT nspname FROM pg_namespace WHERE has_schema_privilege('cloister_app', oid, 'CREATE') "
        "AND nspname !~ '^pg_temp'"
    ).fetchall()
    assert creates == []


def test_the_owner_does_not_pass_by_row_level_security(catalogue):
    role = catalogue.execute("SELECT * FROM pg_roles WHERE rolname = 'cloister_owner'").fetchone()
    assert not role["rolsuper"]
    assert not role["rolbypassrls"]


def test_the_functions_with_their_owners_rights_are_known_and_closed(catalogue):
    rows = catalogue.execute(
        "SELECT p.oid, p.proname, p.proowner::regrole::text AS owner, p.proconfig, p.proacl IS NULL AS untouched, "
        "EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0) AS everyone "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef "
        "AND n.nspname IN ('cloister', 'jobs', 'public')"
    ).fetchall()
    assert {row["proname"] for row in rows} == DEFINERS
    for row in rows:
        assert row["owner"] == "cloister_owner"
        assert not row["untouched"], f"{row['proname']}: PUBLIC may execute it, by default"
        assert not row["everyone"], f"{row['proname']}: PUBLIC may execute it"
        path = next(entry for entry in row["proconfig"] if entry.startswith("search_path="))
        assert path.endswith("pg_temp"), f"{row['proname']}: a temporary table could stand in for a real one"


def test_what_only_the_owner_may_do_is_closed(catalogue):
    may = catalogue.execute(
        "SELECT has_function_privilege('cloister_app', 'cloister.create_embedding_space(text,text,text,int,text)', "
        "'EXECUTE') AS space, has_table_privilege('cloister_app', 'public.cloister_migrations', 'INSERT') AS ledger, "
        "has_table_privilege('cloister_app', 'cloister.embedding_spaces', 'INSERT') AS registry, "
        "has_table_privilege('cloister_app', 'cloister.tenants', 'INSERT') AS tenants"
    ).fetchone()
    assert may == {"space": False, "ledger": False, "registry": False, "tenants": False}


@pytest.mark.parametrize("act", ["SELECT chunk_id FROM", "DELETE FROM", "TRUNCATE", "DROP TABLE"])
async def test_a_partition_cannot_be_reached_past_its_parent(act, app, catalogue, us):
    leaves = catalogue.execute(
        "SELECT inhrelid::regclass::text AS leaf FROM pg_inherits i JOIN pg_class c "
        "ON c.oid = i.inhrelid WHERE c.relkind = 'r'"
    ).fetchall()
    assert len(leaves) == 3
    for row in leaves:
        await app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await app.execute(f"{act} {row['leaf']}")
        await app.rollback()


@in_one_loop
@pytest.mark.parametrize("function", ["build_partition", "attach_partition", "dissolve_partition"])
async def test_partitions_are_moved_for_the_connections_tenant_alone(function, us, them, open_database):
    async with undone(open_database, us.tenant) as connection:
        for theirs in (them.tenant, UUID(int=7)):
            row = await (await connection.execute(f"SELECT {function}(%s, 'minilm_l6_v2') AS n", [theirs])).fetchone()
            assert row["n"] == "absent"
        row = await (
            await connection.execute("SELECT catch_up_partition(%s, 'minilm_l6_v2') AS n", [them.tenant])
        ).fetchone()
        assert row["n"] == 0
        row = await (await connection.execute(f"SELECT {function}(%s, 'no_such_space') AS n", [us.tenant])).fetchone()
        assert row["n"] == "absent"


async def test_what_moves_rows_is_not_to_be_called_past_its_checks(app, us):
    await app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
    for call in ("reconcile_partition(gen_random_uuid(), 'minilm_l6_v2', 1, 1)", "lock_for_swap('minilm_l6_v2')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with app.transaction():
                await app.execute(f"SELECT cloister.{call}")


@pytest.mark.parametrize(("setting", "value"), [("session_replication_role", "replica"), ("role", "cloister_owner")])
async def test_the_app_role_cannot_raise_itself(setting, value, app):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await app.execute(f"SET LOCAL {setting} = '{value}'")


async def test_row_security_off_raises_instead_of_showing_all(app, us):
    await app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
    await app.execute("SET LOCAL row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await app.execute("SELECT text FROM cloister.chunks")


async def test_no_row_can_be_written_for_another_tenant(app, us, them):
    """A copy of each of our own rows, in their name: inserted, and made by an update."""
    names = [
        row["name"] for row in await (await app.execute(TENANT_TABLES)).fetchall() if row["name"] not in WRITE_ONLY
    ]
    assert len(names) >= 15
    await app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
    for name in names:
        table = sql.Identifier("cloister", name)
        own = await (await app.execute(sql.SQL("SELECT count(*) AS n FROM {}").format(table))).fetchone()
        assert own["n"] > 0, f"{name}: without a row of ours there is nothing to copy"
        insert = sql.SQL(
            "INSERT INTO {t} OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(t, jsonb_build_object("
            "'tenant_id', {theirs}))).* FROM {t} t"
        )
        update = sql.SQL("UPDATE {t} SET tenant_id = {theirs}")
        for text in (insert, update):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with app.transaction():
                    await app.execute(text.format(t=table, theirs=sql.Literal(str(them.tenant))))


async def test_what_is_only_written_is_never_read(app, us, them):
    await app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
    for text in (
        "SELECT secret FROM cloister.signing_secrets",
        "SELECT count(*) FROM cloister.signing_secrets",
        "UPDATE cloister.signing_secrets SET secret = ''",
        "DELETE FROM cloister.signing_secrets",
        "INSERT INTO cloister.signing_secrets SELECT tenant_id, key_id, 'x' FROM cloister.api_keys RETURNING secret",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with app.transaction():
                await app.execute(text)
    insert = "INSERT INTO cloister.signing_secrets VALUES (%s, %s, 'x')"
    for tenant, key, error in (
        (them.tenant, them.key, psycopg.errors.InsufficientPrivilege),
        (us.tenant, them.key, psycopg.errors.ForeignKeyViolation),
    ):
        with pytest.raises(error):
            async with app.transaction():
                await app.execute(insert, [tenant, key])


@in_one_loop
async def test_a_session_wide_tenant_does_not_survive_the_pool(us, open_database):
    async with open_database.pool.connection() as connection:
        await connection.execute("SELECT set_config('app.tenant_id', %s, false)", [str(us.tenant)])
        pid = connection.info.backend_pid
        seen = await (await connection.execute("SELECT count(*) AS n FROM documents")).fetchone()
        assert seen["n"] > 0

    async with open_database.control() as connection:
        assert connection.info.backend_pid == pid
        with pytest.raises((psycopg.errors.UndefinedObject, psycopg.errors.InvalidTextRepresentation)):
            await connection.execute("SELECT count(*) FROM documents")
        raise psycopg.Rollback


@in_one_loop
async def test_an_unknown_tenant_sees_nothing(us, open_database, absent_id):
    async with open_database.tenant(TenantId(absent_id)) as connection:
        for table in (
            "documents",
            "chunks",
            "chunk_lexemes",
            "embeddings_minilm_l6_v2",
            "api_keys",
            "answers",
            "tenants",
        ):
            assert not await (await connection.execute(f"SELECT 1 FROM {table}")).fetchall()


@in_one_loop
@pytest.mark.parametrize("predicate", [None, '($."price" == 5)'])
async def test_lexical_candidates_answers_the_connections_tenant_alone(predicate, us, them, open_database):
    """The one function with its owner's rights that reads tenants' rows, so the test of the tenant is its own."""
    values = {
        "tenant": them.tenant,
        "terms": "'brake' | 'lever'",
        "weights": SparseVector({1: 1.0}, 1_000_000_000),
        "collections": None,
        "acl": list(range(1, 100)),
        "filter": predicate,
        "limit": 100,
    }

    async def candidates() -> set[UUID]:
        rows = await (await connection.execute(statement("search.lexical"), values)).fetchall()
        return {row["chunk_id"] for row in rows}

    async with open_database.tenant(TenantId(us.tenant)) as connection:
        assert await candidates() == set()
    async with open_database.tenant(TenantId(them.tenant)) as connection:
        theirs = await candidates()
        assert len(theirs) == 2
        assert theirs <= set(them.chunks)
