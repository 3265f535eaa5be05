"""The plans that the figures of the service rest on, for a tenant of 2,000 chunks among 13,000 others."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from pgvector import HalfVector, SparseVector
from psycopg import sql
from psycopg.rows import dict_row

from rag.store.database import _OPTIONS
from rag.store.statements import in_space, statement

TENANT = UUID("00000000-0000-4000-8000-000000000001")
TENANT_2 = UUID("00000000-0000-4000-8000-000000000002")
PARTITIONED = UUID("00000000-0000-4000-8000-000000000003")
VECTOR = HalfVector(np.full(384, 0.05, np.float32))
ALL_VISIBLE = (
    "SELECT relallvisible >= relpages FROM pg_class WHERE oid = 'cloister.embeddings_minilm_l6_v2_default'::regclass"
)
SEED = (Path(__file__).parent / "test_plans.sql").read_text("utf-8")


@pytest.fixture(scope="module")
def filled(shared_settings, servers) -> str:
    """The module's database with many tenants in it; gives the app role's URL."""
    name = shared_settings.secret("database_url").split("/")[-1].split("?")[0]
    admin_url = servers.admin_url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(SEED)
        admin.execute("SELECT set_config('app.tenant_id', %s, false)", [str(PARTITIONED)])
        for step in ("build", "attach"):
            admin.execute(f"SELECT cloister.{step}_partition(%s, 'minilm_l6_v2')", [PARTITIONED])
        admin.execute("SELECT set_config('app.tenant_id', '', false)")
        # A snapshot held elsewhere for a moment (autovacuum's, say) keeps pages from being marked all-visible.
        for _ in range(50):
            admin.execute("VACUUM ANALYZE")
            if admin.execute(ALL_VISIBLE).fetchone() == (True,):
                break
            time.sleep(0.1)
    return shared_settings.secret("database_url")


@pytest.fixture
def app(filled) -> Iterator[psycopg.Connection]:
    """The app role as the service connects it, inside a transaction that names the tenant."""
    with psycopg.connect(filled, row_factory=dict_row, options=_OPTIONS) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(TENANT)])
        yield connection
        connection.rollback()


def nodes(connection: psycopg.Connection, text: sql.Composable, values: Any, *, analyze: bool = False) -> list[dict]:
    """The nodes of a statement's plan, from the top."""
    options = "ANALYZE, TIMING OFF, BUFFERS OFF, " if analyze else ""
    query = sql.SQL(f"EXPLAIN ({options}FORMAT JSON) ") + text
    plan = connection.execute(query, values).fetchone()["QUERY PLAN"][0]["Plan"]
    found, waiting = [], [plan]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(node.get("Plans", []))
    return found


def scans(plan: list[dict]) -> dict[str, str]:
    """Which index each table is read by, or the kind of scan where it is read by none."""
    found = {}
    for node in plan:
        if table := node.get("Relation Name"):
            by = node["Plans"][0] if node["Node Type"] == "Bitmap Heap Scan" else node
            found[table] = by.get("Index Name", node["Node Type"])
    return found


def chunk_ids(connection: psycopg.Connection, limit: int = 10) -> list[UUID]:
    rows = connection.execute("SELECT chunk_id FROM cloister.chunks ORDER BY chunk_id LIMIT %s", [limit]).fetchall()
    return [row["chunk_id"] for row in rows]


def legs(**more: Any) -> dict[str, Any]:
    return {"tenant": TENANT, "vector": VECTOR.to_text(), "collections": None, "acl": [1, 2], "limit": 50, **more}


def dense(name: str) -> sql.Composable:
    # The vector goes in as text, which needs a cast where the driver's own type needs none.
    text = in_space(name, "minilm_l6_v2").as_string().replace("%(vector)s", "%(vector)s::halfvec")
    return sql.SQL(text)


@pytest.mark.parametrize("collections", [None, [1], [1, 2]])
def test_the_dense_leg_reads_the_covering_index_and_no_heap(app, collections):
    plan = nodes(app, dense("search.dense"), legs(collections=collections), analyze=True)
    reading = [node for node in plan if node.get("Relation Name")]
    assert [node["Node Type"] for node in reading] == ["Index Only Scan"]
    assert "tenant_id_collection_id" in reading[0]["Index Name"]
    assert reading[0]["Heap Fetches"] == 0
    assert reading[0]["Actual Rows"] + reading[0]["Rows Removed by Filter"] <= 2000, "no other tenant's row is passed"


def test_the_dense_leg_under_a_filter_finds_documents_by_their_tenant(app):
    plan = nodes(app, dense("search.dense_filtered"), legs(filter='($."price" == 5)'), analyze=True)
    read = scans(plan)
    assert "tenant_id" in read["embeddings_minilm_l6_v2_default"]
    assert read["documents"].startswith("documents_")


@pytest.mark.parametrize("name", ["search.dense", "search.dense_filtered"])
def test_an_exact_search_of_a_tenant_with_a_partition_reads_that_alone(name, app):
    app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(PARTITIONED)])
    values = legs(tenant=PARTITIONED, acl=[1, 2, 3], filter='($."price" == 5)')
    plan = nodes(app, dense(name), values, analyze=True)
    read = scans(plan)
    (own,) = read.keys() - {"documents"}
    assert own.startswith("partition_")
    assert "embedding" not in read[own], "the approximate index would pass over some"
    reading = next(node for node in plan if node.get("Relation Name") == own)
    assert reading["Actual Rows"] * reading["Actual Loops"] == 1000


@pytest.mark.parametrize("narrow", [{}, {"filter": '($."price" < 50)', "collections": [1], "acl": [1, 2]}])
def test_the_approximate_search_of_the_app_role_scans_the_partitions_index_and_no_other(narrow, filled):
    values = legs(tenant=PARTITIONED, space="minilm_l6_v2", filter=None, fetch=100, effort=200, limit=10) | narrow
    text = statement("search.nearest").replace("%(vector)s", "%(vector)s::halfvec")
    with psycopg.connect(filled, row_factory=dict_row, options=_OPTIONS, autocommit=True) as app:

        def counters() -> dict[str, int]:
            app.execute("SELECT pg_stat_force_next_flush()")
            rows = app.execute(
                "SELECT indexrelname AS name, idx_scan AS scans FROM pg_stat_all_indexes "
                "WHERE relname ~ '^(partition_|embeddings_)' UNION ALL SELECT relname || ' itself', seq_scan "
                "FROM pg_stat_all_tables WHERE relname ~ '^(partition_|embeddings_)'"
            ).fetchall()
            return {row["name"]: row["scans"] for row in rows}

        before = counters()
        with app.transaction():
            app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(PARTITIONED)])
            assert len(app.execute(text, values).fetchall()) == 10
        grown = {name: scans - before[name] for name, scans in counters().items() if scans > before[name]}
    assert grown == {"partition_1_embedding_idx": 1}


def test_the_approximate_search_leaves_the_transaction_as_it_was(app):
    app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(PARTITIONED)])
    values = legs(tenant=PARTITIONED, space="minilm_l6_v2", filter=None, fetch=100, effort=200, limit=10)
    app.execute(statement("search.nearest").replace("%(vector)s", "%(vector)s::halfvec"), values)
    assert app.execute("SHOW enable_sort").fetchone() == {"enable_sort": "on"}


def test_the_sample_of_documents_is_read_in_the_order_of_their_random_ids(app):
    values = legs(filter='($."price" == 5)', sample=100)
    plan = nodes(app, sql.SQL(statement("search.share_in_scope")), values, analyze=True)
    assert scans(plan)["documents"] == "documents_pkey"
    assert next(node for node in plan if node.get("Relation Name"))["Actual Rows"] == 100


def test_rescoring_goes_by_chunk_id(app):
    values = legs(chunks=chunk_ids(app, 50), weights=SparseVector({1: 1.0}, 1_000_000_000).to_text())
    read = scans(nodes(app, dense("search.rescore"), values))
    assert "tenant_id_chunk_id" in read["embeddings_minilm_l6_v2_default"]
    assert read["chunk_lexemes"] == "chunk_lexemes_pkey"
    assert read["chunk_sentences_minilm_l6_v2"] == "chunk_sentences_minilm_l6_v2_pkey"


def test_sentences_are_read_by_their_key(app):
    read = scans(nodes(app, dense("search.sentences"), legs(chunks=chunk_ids(app))))
    assert read == {"chunk_sentences_minilm_l6_v2": "chunk_sentences_minilm_l6_v2_pkey"}


def test_hydration_goes_by_primary_keys(app):
    values = {"tenant": TENANT, "chunks": chunk_ids(app), "acl": [1, 2, 3]}
    read = scans(nodes(app, sql.SQL(statement("search.hydrate")), values))
    assert read == {
        "chunks": "chunks_pkey",
        "documents": "documents_pkey",
        "collections": "collections_pkey",
        "document_versions": "document_versions_pkey",
    }


@pytest.mark.parametrize("filtered", [False, True])
def test_lexical_candidates_uses_the_gin_index_for_both_conditions(filled, shared_settings, filtered):
    """The function's own queries, taken out of it, planned as its owner plans them."""
    with psycopg.connect(
        shared_settings.secret("migration_database_url"), row_factory=dict_row, options=_OPTIONS
    ) as owner:
        owner.execute("SELECT set_config('app.tenant_id', %s, true)", [str(TENANT)])
        body = owner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'lexical_candidates'").fetchone()["prosrc"]
        queries = re.findall(r"RETURN QUERY\s+(SELECT.*?);", body, re.DOTALL)
        assert len(queries) == 2
        values = {
            "p_tenant": str(TENANT),
            "p_terms": "'rare7' | 'rare8'",
            "p_weights": "{1:1}/1000000000",
            "p_collections": None,
            "p_acl": [1, 2, 3],
            "p_filter": '($."price" == 5)',
            "p_limit": 50,
        }
        types = {
            "p_tenant": "uuid",
            "p_terms": "tsquery",
            "p_weights": "sparsevec",
            "p_collections": "int[]",
            "p_acl": "int[]",
            "p_filter": "jsonpath",
            "p_limit": "int",
        }
        query = re.sub(r"\bp_\w+", lambda name: f"%({name[0]})s::{types[name[0]]}", queries[filtered])
        plan = nodes(owner, sql.SQL(query), values)
    (condition,) = [n["Index Cond"] for n in plan if n.get("Index Name") == "chunk_lexemes_tsv"]
    assert "@@" in condition
    assert "tenant_id" in condition
    assert "Seq Scan" not in {node["Node Type"] for node in plan}


def test_a_lexical_search_of_the_app_role_scans_the_gin_index_and_nothing_else_of_that_table(filled):
    values = {
        "tenant": TENANT,
        "terms": "'rare7'",
        "weights": "{1:1}/1000000000",
        "collections": None,
        "acl": [1, 2, 3],
        "filter": None,
        "limit": 50,
    }
    text = statement("search.lexical").replace("%(weights)s", "%(weights)s::sparsevec")
    with psycopg.connect(filled, row_factory=dict_row, options=_OPTIONS, autocommit=True) as app:

        def counters() -> dict[str, int]:
            app.execute("SELECT pg_stat_force_next_flush()")
            rows = app.execute(
                "SELECT indexrelname AS name, idx_scan AS scans FROM pg_stat_all_indexes "
                "WHERE relname = 'chunk_lexemes' "
                "UNION ALL SELECT 'Seq Scan', seq_scan FROM pg_stat_all_tables WHERE relname = 'chunk_lexemes'"
            ).fetchall()
            return {row["name"]: row["scans"] for row in rows}

        before = counters()
        with app.transaction():
            app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(TENANT)])
            assert len(app.execute(text, values).fetchall()) == 4
        grown = {name: scans - before[name] for name, scans in counters().items()}
    assert grown == {"chunk_lexemes_pkey": 0, "chunk_lexemes_tsv": 1, "Seq Scan": 0}


@pytest.mark.parametrize(
    ("name", "values", "table", "index"),
    [
        (
            "documents.get",
            {"collection": "c1", "external_id": "x", "acl": None},
            "documents",
            "documents_tenant_id_collection_id_external_id_key",
        ),
        (
            "documents.versions",
            {"document": TENANT, "before": 9, "limit": 10},
            "document_versions",
            "document_versions_pkey",
        ),
        (
            "ingest.list",
            {"state": None, "before_time": "9999-01-01", "before_run": UUID(int=2**128 - 1), "limit": 10},
            "ingest_runs",
            "ingest_runs_recent",
        ),
        ("ingest.backlog", {}, "ingest_runs", "ingest_runs_open"),
        ("ingest.get", {"run": TENANT}, "ingest_runs", "ingest_runs_pkey"),
        ("keys.list", {}, "api_keys", "api_keys_tenant_key"),
        ("collections.get", {"name": "c1"}, "collections", "collections_tenant_id_name_key"),
        ("answers.get", {"answer": TENANT, "acl": [1]}, "answers", "answers_pkey"),
    ],
)
def test_what_is_asked_for_by_name_is_found_by_an_index(app, name, values, table, index):
    read = scans(nodes(app, sql.SQL(statement(name)), {"tenant": TENANT, **values}))
    assert read[table] == index


@pytest.mark.parametrize("acl", [None, [1, 2]])
def test_a_page_of_documents_is_read_in_the_order_of_the_index(app, acl):
    """Sorting the whole collection for each page makes listing it quadratic."""
    app.execute("SELECT set_config('app.tenant_id', %s, true)", [str(TENANT_2)])
    values = {
        "tenant": TENANT_2,
        "collection": "c3",
        "collection_id": 3,
        "after": "document-2",
        "limit": 100,
        "acl": acl,
    }
    plan = nodes(app, sql.SQL(statement("documents.list")), values)
    assert scans(plan)["documents"] == "documents_tenant_id_collection_id_external_id_key"
    assert "Sort" not in {node["Node Type"] for node in plan}


def test_known_contents_are_found_by_their_hash(app):
    values = {"tenant": TENANT, "hashes": [bytes(32), uuid4().bytes * 2]}
    read = scans(nodes(app, dense("chunks.known_embeddings"), values))
    assert read["chunks"] == "chunks_content"


def test_a_credential_is_found_by_its_digest(filled, shared_settings):
    with psycopg.connect(shared_settings.secret("migration_database_url"), row_factory=dict_row) as owner:
        text = sql.SQL("SELECT 1 FROM cloister.api_keys k WHERE k.digest = %(digest)s AND k.revoked_at IS NULL")
        assert scans(nodes(owner, text, {"digest": bytes(32)})) == {"api_keys": "api_keys_digest_key"}
