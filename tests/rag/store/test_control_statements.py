"""The statements that belong to no tenant: what an operator asks, and the door before it knows whose a key is.

The columns are all that may be known across tenants.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from rag.store.statements import STATEMENTS
from tests.rag.store.conftest import Seed, everything, undone

TENANT = {"tenant_id", "slug", "name", "created_at"}
AUTHENTICATED = {
    "key_id", "tenant_id", "slug", "kind", "scopes", "groups", "expires_at", "origins", "collections"
}  # fmt: skip
KEY = {"key_id", "kind", "display", "name", "scopes", "groups"}

CONTROL_STATEMENTS: dict[str, tuple[Callable[[Seed], dict[str, Any]], set[str]]] = {
    "delivery.workers": (lambda s: {}, {"alive"}),
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
    "schema.row_security": (lambda s: {}, {"role", "bound"}),
    "schema.version": (lambda s: {}, {"version"}),
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
        assert them.canary not in repr(await cursor.fetchall())
        assert await everything(connection, them.tenant) == before
