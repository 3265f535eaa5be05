"""The statements that belong to no tenant: what an operator asks, and the door before it knows whose a key is.

The columns are all that may be known across tenants.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from rag.store.statements import STATEMENTS
from tests.rag.store.conftest import Seed, everything, undone

TENANT = {"tenant_id", "slug", "name", "created_at"}
AUTHENTICATED = {
    "key_id", "tenant_id", "slug", "kind", "scopes", "groups", "expires_at", "origins", "collections"
}  # fmt: skip
KEY = {"key_id", "kind", "display", "name", "scopes", "groups"}

APPROVAL = {
    "approval_id",
    "act",
    "subject",
    "arguments",
    "digest",
    "state",
    "requested_by",
    "requested_at",
    "expires_at",
}
APPROVAL |= {"decided_by", "decided_at", "used_at"}

CONTROL_STATEMENTS: dict[str, tuple[Callable[[Seed], dict[str, Any]], set[str]]] = {
    "approvals.decide": (lambda s: {"approval": s.key, "state": "granted", "by": "local:a", "key": None}, APPROVAL),
    "approvals.get": (lambda s: {"approval": s.key}, APPROVAL),
    "approvals.list": (
        lambda s: {"state": None, "before_time": "9999-01-01", "before_approval": s.key, "limit": 10},
        APPROVAL,
    ),
    "approvals.request": (
        lambda s: {
            "act": "tenant.delete",
            "subject": s.tenant,
            "arguments": Jsonb({}),
            "digest": bytes(32),
            "by": "local:a",
            "life": timedelta(hours=1),
            "most": 10,
        },
        APPROVAL | {"fresh"},
    ),
    "approvals.use": (lambda s: {"approval": s.key, "digest": bytes(32), "by": "local:a"}, APPROVAL),
    "audit.heads": (lambda s: {}, {"tenant_id", "slug", "sequence", "hash"}),
    "audit.known_keys": (lambda s: {"digests": [bytes(32)]}, {"digest", "key_id", "tenant_id"}),
    "audit.page": (
        lambda s: {
            "chain": UUID(int=0),  # a tenant's own names its collections and groups
            "before": "9999-01-01",
            "before_chain": s.tenant,
            "before_sequence": 1,
            "limit": 100,
        },
        {"tenant_id", "slug", "sequence", "occurred_at", "previous_hash", "hash", "event"},
    ),
    "delivery.workers": (lambda s: {}, {"alive"}),
    "erasure.clear_samples": (lambda s: {}, {"count"}),
    "erasure.close": (
        lambda s: {"tenant": s.tenant, "digest": bytes(32), "subject": Jsonb({}), "by": "x", "step": "queue"},
        {"erasure_id"},
    ),
    "erasure.enter": (lambda s: {"tenant": s.tenant, "timeout": "20000", "writes": True}, {"erased"}),
    "erasure.find": (
        lambda s: {
            "erasure": None,
            "tenant_id": None,
            "open": True,
            "before_time": "9999-01-01",
            "before": UUID(int=2**128 - 1),
            "limit": 10,
        },
        {"erasure_id", "tenant_id", "kind", "digest", "requested_by", "step", "removed", "remaining"}
        | {"started_at", "finished_at"},
    ),
    "erasure.tables": (lambda s: {}, {"name"}),
    "ingest.undelivered": (lambda s: {"limit": 10}, {"tenant_id", "run_id"}),
    "ingest.totals": (lambda s: {}, {"state", "runs", "oldest_seconds"}),
    "keys.authenticate": (
        lambda s: {"digest": bytes(32)},
        AUTHENTICATED,
    ),
    "keys.authenticate_widget": (lambda s: {"key": s.key}, AUTHENTICATED | {"secret"}),
    "keys.create_operator": (
        lambda s: {"digest": os.urandom(32), "display": "clo_op_", "name": "", "expires_at": None},
        {"key_id"},
    ),
    "keys.list_operators": (
        lambda s: {},
        KEY | {"created_at", "expires_at", "revoked_at", "last_used_at", "rotated_from", "rotated_at"},
    ),
    "keys.origin_listed": (lambda s: {"origin": "https://shop.example"}, {"listed"}),
    "keys.resolve_tenant": (lambda s: {"slug": "second"}, {"tenant_id"}),
    "keys.rotate_operator": (
        lambda s: {
            "key": s.key,
            "digest": os.urandom(32),
            "display": "clo_op_",
            "expires_at": None,
            "ends_at": "2999-01-01",
        },
        {"key_id", "ends_at"},
    ),
    "keys.revoke_operator": (lambda s: {"key": s.key}, {"revoked"}),
    "approvals.purge": (lambda s: {"days": 90, "limit": 10}, {"purged"}),
    "retention.claim": (lambda s: {"every": 3600.0, "limit": 0}, {"tenant_id"}),
    "partitions.hold": (lambda s: {}, set()),
    "partitions.misplaced": (lambda s: {"over": 1, "under": 1000, "limit": 10}, {"tenant_id", "space"}),
    "partitions.totals": (lambda s: {}, {"attached", "built"}),
    "probes.definers": (lambda s: {}, {"name"}),
    "probes.tables": (lambda s: {}, {"name"}),
    "probes.turn": (lambda s: {}, {"held"}),
    "schema.row_security": (lambda s: {}, {"role", "bound"}),
    "schema.version": (lambda s: {}, {"version"}),
    "spaces.activate": (lambda s: {"space": "minilm_l6_v2", "subject": s.tenant}, {"slug", "missing"}),
    "spaces.known": (lambda s: {"space": "minilm_l6_v2"}, {"known"}),
    "spaces.usage": (
        lambda s: {},
        {"space", "model", "revision", "dimensions", "chunker_version", "created_at", "tenants", "chunks", "embedded"},
    ),
    "tenants.create": (
        lambda s: {"slug": "third", "name": "Third", "space": "minilm_l6_v2"},
        TENANT,
    ),
    "tenants.list": (lambda s: {}, TENANT | {"documents", "chunks"}),
    "tenants.by_slug": (
        lambda s: {"slug": "second"},
        TENANT | {"documents", "chunks"},
    ),
    "tenants.delete": (lambda s: {"tenant": s.tenant}, {"deleted"}),
}


def test_no_statement_is_left_out(control_statements):
    assert CONTROL_STATEMENTS.keys() == control_statements


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", CONTROL_STATEMENTS)
async def test_what_is_known_across_tenants_is_no_more_than_it_says(name, us, them, open_database):
    parameters, columns = CONTROL_STATEMENTS[name]
    async with undone(open_database, us.tenant) as connection:
        before = await everything(connection, them.tenant)
        cursor = await connection.execute(STATEMENTS[name], parameters(us))
        assert {column.name for column in cursor.description or ()} == columns
        assert them.canary not in repr(await cursor.fetchall() if cursor.description else [])
        assert await everything(connection, them.tenant) == before
