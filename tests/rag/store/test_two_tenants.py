"""Every statement of the house, run as one tenant beside another with the same kind of data.

The other tenant's rows hold a word of its own, its canary, and ids of its own: neither may ever come back, and none of
its rows may change, whatever ids are asked for and whether or not the statement names the tenant.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from pgvector import HalfVector, SparseVector
from psycopg import sql
from psycopg.types.json import Jsonb

from rag.domain import TenantId
from rag.store.database import Connection
from rag.store.statements import STATEMENTS
from tests.rag.store.conftest import Seed, everything, undone
from tests.rag.store.erasure_statements import ERASURE_STATEMENTS
from tests.rag.store.product_statements import PRODUCT_STATEMENTS

in_one_loop = pytest.mark.asyncio(loop_scope="module")

SPACE = "minilm_l6_v2"
ACLS = list(range(1, 100))  # every set of groups of every tenant: groups are no help in keeping tenants apart
VECTOR = HalfVector(np.full(384, 1 / 384**0.5, np.float32))
WEIGHTS = SparseVector({1: 1.0}, 1_000_000_000)
SHA = bytes(32)

REFUSALS = (
    psycopg.errors.InsufficientPrivilege,  # row-level security, on a row that would be another tenant's
    psycopg.errors.ForeignKeyViolation,  # every foreign key leads with the tenant
)
NO_TENANT = (
    psycopg.errors.UndefinedObject,  # app.tenant_id was never set on this connection
    psycopg.errors.InvalidTextRepresentation,  # it was, in a transaction that has ended: it is '' then
)


Parameters = Callable[[UUID, Seed], dict[str, Any]]


def _document(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "document": seed.document}


def _place(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "chunk": seed.bare_chunk,
        "document": seed.bare_document,
        "collection": seed.collection,
        "acl": seed.acl,
    }


def _attempt(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "run": seed.running, "lease": seed.lease}


def _legs(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "vector": VECTOR, "collections": None, "acl": ACLS, "chunks": seed.chunks}


def _kept_reply(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "caller": seed.caller, "key": seed.canary}


# Statement -> its parameters, of a tenant's id and of the seed that every other id is taken from.
TENANT_STATEMENTS: dict[str, Parameters] = {
    **ERASURE_STATEMENTS,
    **PRODUCT_STATEMENTS,
    "answers.keep": lambda t, s: {
        "tenant": t,
        "answer": uuid4(),
        "key": s.key,
        "question": "why?",
        "status": "refused",
        "refusal_code": "no_results",
        "gateway": "extractive",
        "corpus_version": 1,
        "space": SPACE,
        "documents": [s.document],
        "body": Jsonb({}),
        "passages": Jsonb([]),
        "user": "someone",
        "user_digest": SHA,
        "took_s": 0.5,
    },
    "answers.get": lambda t, s: {"tenant": t, "answer": s.answer, "acl": ACLS},
    "collections.readable": lambda t, s: {"tenant": t, "names": ["kb"], "acl": ACLS},
    "usage.daily": lambda t, s: {"tenant": t, "days": 30, "limit": 100},
    "answers.forget_document": _document,
    "answers.forget_collection": lambda t, s: {"tenant": t, "collection": s.collection},
    "audit.append": lambda t, s: {"chain": t, "events": Jsonb([{"metadata": {}}])},
    "audit.events": lambda t, s: {"tenant": t, "after": 0, "since": "1970-01-01", "limit": 100},
    "audit.head": lambda t, s: {"tenant": t},
    "chunks.delete": lambda t, s: {"tenant": t, "document": s.document},
    "chunks.insert": lambda t, s: {
        "tenant": t,
        "chunk": uuid4(),
        "document": s.bare_document,
        "version": 1,
        "ordinal": 999,
        "collection": s.collection,
        "acl": s.acl,
        "text": "brakes",
        "heading_path": [],
        "context": "",
        "page": None,
        "start": 0,
        "end": 6,
        "tokens": 1,
        "pieces": 1,
        "sha256": SHA,
    },
    "chunks.insert_lexemes": lambda t, s: {
        **_place(t, s),
        "average": None,
        "language": "english",
        "headings": "brakes",
        "body": "brakes",
    },
    "chunks.insert_embedding": lambda t, s: {**_place(t, s), "embedding": VECTOR},
    "chunks.insert_sentence": lambda t, s: {
        **_place(t, s),
        "ordinal": 0,
        "start": 0,
        "end": 6,
        "embedding": VECTOR,
    },
    "chunks.known_embeddings": lambda t, s: {"tenant": t, "hashes": s.hashes},
    "collections.create": lambda t, s: {
        "tenant": t,
        "name": f"new-{s.collection}",
        "language": "english",
        "refusal_threshold": None,
        "facet_fields": [],
        "synonyms": Jsonb([]),
    },
    "collections.list": lambda t, s: {"tenant": t, "after": "", "limit": 100},
    "collections.get": lambda t, s: {"tenant": t, "name": "kb"},
    "collections.locate": lambda t, s: {"tenant": t, "name": "kb"},
    "collections.number": lambda t, s: {"tenant": t, "name": "kb"},
    "collections.lock": lambda t, s: {"tenant": t, "name": "kb"},
    "collections.update": lambda t, s: {
        "tenant": t,
        "name": "kb",
        "set_threshold": True,
        "refusal_threshold": 0.25,
        "facet_fields": ["brand"],
        "synonyms": Jsonb([["a", "b"]]),
    },
    "collections.delete": lambda t, s: {"tenant": t, "name": "kb"},
    "collections.count": lambda t, s: {"tenant": t, "collection": s.collection, "chunks": 7, "documents": 7},
    "corpus.state": lambda t, s: {"tenant": t, "groups": [s.canary], "all_groups": True},
    "corpus.touch": lambda t, s: {"tenant": t, "chunks": 7},
    "corpus.writing": lambda t, s: {"tenant": t},
    "corpus.stats_due": lambda t, s: {"tenant": t},
    "corpus.stats_lock": lambda t, s: {"tenant": t},
    "corpus.stats_refresh": lambda t, s: {"tenant": t},
    "corpus.stats_measure": lambda t, s: {"tenant": t},
    "corpus.stats_keep": lambda t, s: {"tenant": t, "corpus_version": 99, "average": 3.0},
    "corpus.stats_renormalise": lambda t, s: {"tenant": t, "average": 1000.0},
    "documents.claim": lambda t, s: {"tenant": t, "collection": s.collection, "external_id": "doc"},
    "documents.next_version": _document,
    "documents.get": lambda t, s: {"tenant": t, "collection": "kb", "external_id": "doc", "acl": None},
    "documents.list": lambda t, s: {
        "tenant": t,
        "collection": "kb",
        "collection_id": s.collection,
        "after": "",
        "limit": 100,
        "acl": None,
    },
    "documents.versions": lambda t, s: {**_document(t, s), "before": 2**31 - 1, "limit": 100},
    "documents.version_text": lambda t, s: {**_document(t, s), "version": 2},
    "documents.spans": lambda t, s: {
        "tenant": t,
        "documents": [s.document],
        "versions": [2],
        "starts": [0],
        "ends": [200],
    },
    "documents.delete": lambda t, s: {"tenant": t, "collection": s.collection, "external_id": "doc"},
    "documents.lock": _document,
    "documents.groups": lambda t, s: {"tenant": t, "acl": s.acl},
    "documents.serve": lambda t, s: {
        **_document(t, s),
        "title": "x",
        "uri": "x",
        "metadata": Jsonb({}),
        "acl": s.acl,
        "fingerprint": SHA,
        "version": 2,
        "media_type": "text/plain",
        "size": 1,
        "chunks": 1,
    },
    "documents.add_version": lambda t, s: {**_document(t, s), "version": 9, "text": "x", "sha256": SHA, "title": "x"},
    "documents.intern_acl": lambda t, s: {"tenant": t, "groups": ["staff"], "digest": SHA},
    "idempotency.claim": lambda t, s: {
        **_kept_reply(t, s),
        "key": "new",
        "fingerprint": SHA,
        "lease": uuid4(),
        "lease_s": 60,
        "kept_s": 60,
    },
    "idempotency.find": _kept_reply,
    "idempotency.finish": lambda t, s: {
        **_kept_reply(t, s),
        "lease": s.request_lease,
        "status": 200,
        "media_type": None,
        "location": None,
        "body": b"x",
        "answer": s.answer,
    },
    "idempotency.release": lambda t, s: {**_kept_reply(t, s), "lease": s.request_lease},
    "idempotency.forget": _kept_reply,
    "idempotency.purge": lambda t, s: {"tenant": t, "limit": 10},
    "ingest.enqueue": lambda t, s: {
        **_document(t, s),
        "collection_id": s.collection,
        "collection": "kb",
        "external_id": "doc",
        "version": 9,
        "fingerprint": SHA,
        "request": Jsonb({}),
        "size": 1,
    },
    "ingest.keep_source": lambda t, s: {"tenant": t, "run": s.succeeded, "body": b"x"},
    "ingest.pending": lambda t, s: {**_document(t, s), "document": s.bare_document, "version": 2},
    "ingest.supersede": lambda t, s: {"tenant": t, "document": s.bare_document, "version": 9},
    "ingest.cancel_document": lambda t, s: {"tenant": t, "document": s.bare_document},
    "ingest.cancel_collection": lambda t, s: {"tenant": t, "collection": s.collection},
    "ingest.drop_source": lambda t, s: {"tenant": t, "run": s.queued},
    "ingest.drop_sources": lambda t, s: {"tenant": t, "document": s.bare_document, "version": 9},
    "ingest.forget_document": _document,
    "ingest.forget_collection": lambda t, s: {"tenant": t, "collection": s.collection},
    "ingest.backlog": lambda t, s: {"tenant": t},
    "ingest.claim": lambda t, s: {"tenant": t, "run": s.queued, "lease": uuid4()},
    "ingest.source": lambda t, s: {"tenant": t, "run": s.queued},
    "ingest.progress": lambda t, s: {**_attempt(t, s), "stage": "embedding", "done": 1, "total": 2},
    "ingest.finish": lambda t, s: {**_attempt(t, s), "stage": "x", "total": 0, "state": "dead", "error": None},
    "ingest.list": lambda t, s: {
        "tenant": t,
        "state": None,
        "before_time": "9999-01-01",
        "before_run": UUID(int=2**128 - 1),
        "limit": 100,
    },
    "ingest.get": lambda t, s: {"tenant": t, "run": s.dead},
    "ingest.tally": lambda t, s: {"tenant": t, "runs": [s.queued, s.running, s.dead]},
    "ingest.some": lambda t, s: {"tenant": t, "runs": [s.queued, s.running, s.dead]},
    "ingest.retry": lambda t, s: {"tenant": t, "run": s.dead},
    "ingest.cancel": lambda t, s: {"tenant": t, "run": s.queued},
    "keys.create": lambda t, s: {
        "tenant": t,
        "kind": "secret",
        "digest": os.urandom(32),
        "display": "clo_sk_",
        "name": "",
        "scopes": ["search"],
        "groups": [],
        "origins": [],
        "collections": None,
        "expires_at": None,
        "rotated_from": s.key,
    },
    "keys.keep_secret": lambda t, s: {"tenant": t, "key": s.key, "secret": "clo_ws_"},
    "keys.list": lambda t, s: {"tenant": t},
    "keys.lock": lambda t, s: {"tenant": t, "key": s.key},
    "keys.note_use": lambda t, s: {"tenant": t, "key": s.key},
    "keys.retire": lambda t, s: {"tenant": t, "key": s.key, "ends_at": "2999-01-01"},
    "keys.revoke": lambda t, s: {"tenant": t, "key": s.key},
    "limits.get": lambda t, s: {"tenant": t},
    "limits.change": lambda t, s: {"tenant": t, "limits": Jsonb({"key_units": 1})},
    "partitions.read": lambda t, s: {"tenant": t, "space": SPACE},
    "partitions.build": lambda t, s: {"tenant": t, "space": SPACE},
    "partitions.catch_up": lambda t, s: {"tenant": t, "space": SPACE},
    "partitions.attach": lambda t, s: {"tenant": t, "space": SPACE},
    "partitions.dissolve": lambda t, s: {"tenant": t, "space": SPACE},
    "probes.rows": lambda t, s: {"tenant": t},
    "search.lexical_plan": lambda t, s: {
        "tenant": t,
        "query": f"brake {s.word}",
        "languages": ["english"],
        "breadth": 500,
        "beginning": "whe",
        "alternatives": Jsonb([{"stands_for": "brake", "text": "lever", "factor": 0.5}]),
    },
    "search.lexical": lambda t, s: {
        "tenant": t,
        "terms": "'brake' | 'lever'",
        "weights": WEIGHTS,
        "collections": None,
        "acl": ACLS,
        "filter": None,
        "limit": 100,
    },
    "search.dense": lambda t, s: {**_legs(t, s), "limit": 100},
    "search.dense_filtered": lambda t, s: {**_legs(t, s), "filter": '($."price" == 5)', "limit": 100},
    "search.nearest": lambda t, s: {
        **_legs(t, s),
        "space": SPACE,
        "filter": None,
        "fetch": 100,
        "effort": 100,
        "limit": 100,
    },
    "search.share_in_scope": lambda t, s: {**_legs(t, s), "filter": '($."price" == 5)', "sample": 100},
    "search.rescore": lambda t, s: {**_legs(t, s), "weights": WEIGHTS},
    "search.hydrate": lambda t, s: {"tenant": t, "chunks": s.chunks, "acl": ACLS},
    "search.matching_words": lambda t, s: {"words": ["brakes"], "terms": "'brake'", "languages": ["english"]},
    "search.sentences": _legs,
}

STORE = {"erasure.document_chunk_rows": f"chunk_sentences_{SPACE}"}
TOUCH_NO_TABLE = {"search.matching_words", "corpus.stats_lock", "erasure.await_writes"}
TAKES_NO_TENANT = {"audit.append"}  # without one it is an operator's transaction, which may write to any chain
NAMES_THE_TENANT = re.compile(r"(?:\b\w+\.)?tenant_id = %\(tenant\)s")
STRIPPABLE = [name for name in TENANT_STATEMENTS if NAMES_THE_TENANT.search(STATEMENTS[name])]


def _text_of(name: str, *, stripped: bool = False) -> sql.Composable:
    text = NAMES_THE_TENANT.sub("TRUE", STATEMENTS[name]) if stripped else STATEMENTS[name]
    if "{store}" in text:
        return sql.SQL(text).format(store=sql.Identifier("cloister", STORE.get(name, "chunk_lexemes")))
    if "{embeddings}" not in text and "{sentences}" not in text:
        return sql.SQL(text)
    return sql.SQL(text).format(
        embeddings=sql.Identifier("cloister", f"embeddings_{SPACE}"),
        sentences=sql.Identifier("cloister", f"chunk_sentences_{SPACE}"),
    )


class Outcome(NamedTuple):
    """What became of a statement: its rows, or the error that it raised."""

    rows: list[dict[str, Any]]
    count: int
    error: type[Exception] | None


async def _run(connection: Connection, text: sql.Composable, values: dict[str, Any]) -> Outcome:
    try:
        async with connection.transaction():
            cursor = await connection.execute(text, values)
            rows = await cursor.fetchall() if cursor.description else []
            return Outcome(rows, cursor.rowcount, None)
    except REFUSALS as refusal:
        return Outcome([], 0, type(refusal))


def _foreign(value: object, seed: Seed) -> Iterator[str]:
    """What there is of a tenant in a value: its canary and its ids."""
    shown = repr(value)
    yield from (word for word in (seed.canary, *seed.ids) if word in shown)


def _masked(outcome: Outcome, asked: Seed) -> str:
    """What two outcomes are compared by: all but new ids, times, and the words that were asked for."""
    text = re.sub(r"UUID\('[^']+'\)|datetime\.datetime\([^)]*\)|(?<='acl_id': )\d+", "…", repr(outcome))
    text = text.replace(f"new-{asked.collection}", "new").replace(asked.word, "word")
    return re.sub(r"SparseVector\({([^}]*)}", lambda m: str(sorted(re.findall(r": ([\d.]+)", m[1]))), text)


# ---------------------------------------------------------------- the tests


def test_no_statement_is_left_out(control_statements):
    """Of those that belong to no tenant, tests/rag/store/test_control_statements.py has what they may show."""
    assert TENANT_STATEMENTS.keys() == STATEMENTS.keys() - control_statements


@in_one_loop
@pytest.mark.parametrize("name", TENANT_STATEMENTS)
async def test_our_own_parameters_bring_nothing_of_theirs(name, us, them, open_database):
    async with undone(open_database, us.tenant) as connection:
        before = await everything(connection, them.tenant)
        await connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
        outcome = await _run(connection, _text_of(name), TENANT_STATEMENTS[name](us.tenant, us))
        after = await everything(connection, them.tenant)

    assert outcome.error is None
    assert outcome.rows or outcome.count, "our own data is there, or the test would prove nothing"
    assert not list(_foreign(outcome.rows, them))
    assert before == after


@in_one_loop
@pytest.mark.parametrize("name", TENANT_STATEMENTS)
@pytest.mark.parametrize("whose", ["our tenant, their ids", "their tenant, their ids", "their tenant, our ids"])
async def test_their_ids_are_answered_as_if_they_did_not_exist(name, whose, us, them, ghost, open_database):
    tenant, ids, nobody = {
        "our tenant, their ids": (us.tenant, them, (us.tenant, ghost)),
        "their tenant, their ids": (them.tenant, them, (ghost.tenant, ghost)),
        "their tenant, our ids": (them.tenant, us, (ghost.tenant, us)),
    }[whose]
    async with undone(open_database, us.tenant) as connection:
        before = await everything(connection, them.tenant)
        await connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
        outcome = await _run(connection, _text_of(name), TENANT_STATEMENTS[name](tenant, ids))
        after = await everything(connection, them.tenant)
    async with undone(open_database, us.tenant) as connection:
        expected = await _run(connection, _text_of(name), TENANT_STATEMENTS[name](*nobody))

    assert not list(_foreign(outcome.rows, them))
    assert before == after
    assert _masked(outcome, ids) == _masked(expected, nobody[1])


@in_one_loop
@pytest.mark.parametrize("name", STRIPPABLE)
async def test_a_statement_that_forgets_the_tenant_leaks_nothing(name, us, them, open_database):
    ours = TENANT_STATEMENTS[name](us.tenant, us)
    theirs = TENANT_STATEMENTS[name](them.tenant, them)
    values = {
        key: [*value, *theirs[key]] if key in {"runs", "chunks"} and isinstance(value, list) else value
        for key, value in ours.items()
    }
    async with undone(open_database, us.tenant) as connection:
        before = await everything(connection, them.tenant)
        await connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(us.tenant)])
        outcome = await _run(connection, _text_of(name, stripped=True), values)
        after = await everything(connection, them.tenant)

    assert not list(_foreign(outcome.rows, them))
    assert before == after


@in_one_loop
@pytest.mark.parametrize(
    "name", ["answers.get", "collections.list", "documents.get", "ingest.list", "keys.list", "search.dense"]
)
async def test_it_is_row_level_security_that_holds(name, us, them, shared_settings, servers):
    """The same statements without their condition, as a role that passes by row-level security, do leak."""
    url = servers.admin_url.replace("/postgres?", f"/{_name_of(shared_settings)}?")
    options = "-c search_path=cloister,jobs,public"
    values = {**TENANT_STATEMENTS[name](us.tenant, us), "answer": them.answer}
    async with await psycopg.AsyncConnection.connect(url, options=options) as admin:
        cursor = await admin.execute(_text_of(name, stripped=True).as_string(admin), _plain(values))
        assert list(_foreign(await cursor.fetchall(), them))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to_text() if isinstance(value, HalfVector) else value for key, value in values.items()}


def _name_of(settings) -> str:
    return settings.secret("database_url").split("/")[-1].split("?")[0]


@pytest.mark.parametrize("connection_was_used", [False, True])
async def test_without_a_tenant_every_statement_raises(connection_was_used, us, untouched):
    if connection_was_used:
        async with untouched.tenant(TenantId(us.tenant)) as connection:
            await connection.execute("SELECT 1")
    answered = []
    for name in TENANT_STATEMENTS.keys() - TOUCH_NO_TABLE - TAKES_NO_TENANT:
        with suppress(*NO_TENANT):
            async with untouched.control() as connection:
                await connection.execute(_text_of(name), TENANT_STATEMENTS[name](us.tenant, us))
                answered.append(name)
    assert not answered


@pytest.mark.parametrize("name", sorted(TOUCH_NO_TABLE))
def test_what_needs_no_tenant_reads_no_table(name):
    assert not re.search(r"\b(FROM|JOIN|INTO|UPDATE) (?!unnest)\w", STATEMENTS[name])


@in_one_loop
async def test_a_document_cannot_be_given_their_groups(us, them, open_database):
    values = {**TENANT_STATEMENTS["documents.serve"](us.tenant, us), "acl": them.acl}
    async with undone(open_database, us.tenant) as connection:
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as the commit would
        outcome = await _run(connection, _text_of("documents.serve"), values)
    assert outcome.error is psycopg.errors.ForeignKeyViolation
