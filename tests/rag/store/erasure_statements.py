"""The parameters of the statements that erase and purge, for the tests that run each beside another tenant."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from rag.store.erasure import subject_digest
from tests.rag.store.conftest import Seed

SHA = bytes(32)
ACLS = list(range(1, 100))


def _documents(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "documents": [seed.document]}


def _aged(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "days": -1, "limit": 100}  # older than tomorrow: all of it is


ERASURE_STATEMENTS: dict[str, Callable[[UUID, Seed], dict[str, Any]]] = {
    "erasure.document_pins": _documents,
    "erasure.await_writes": lambda t, s: {"tenant": t},
    "erasure.begin": lambda t, s: {
        "tenant": t,
        "kind": "user",
        "digest": SHA,
        "subject": Jsonb({}),
        "by": "local:root",
        "step": "writes",
    },
    "erasure.begun": lambda t, s: {"tenant": t, "digest": subject_digest("user", s.tenant, s.canary)},
    "erasure.lock": lambda t, s: {"tenant": t, "erasure": s.erasure},
    "erasure.record": lambda t, s: {
        "tenant": t,
        "erasure": s.erasure,
        "removed": Jsonb({}),
        "step": "x",
        "subject": Jsonb({}),
    },
    "erasure.finish": lambda t, s: {"tenant": t, "erasure": s.erasure, "removed": Jsonb({}), "remaining": Jsonb({})},
    "erasure.batch": lambda t, s: {"tenant": t, "limit": 100},
    "erasure.count": lambda t, s: {"tenant": t},
    "erasure.count_all": lambda t, s: {"tenant": t},
    "erasure.queue": lambda t, s: {"tenant": t, "runs": [s.queued]},
    "erasure.document_ids": lambda t, s: {"tenant": t, "collection": "kb", "external_id": "doc"},
    "erasure.document_served": _documents,
    "erasure.document_runs": _documents,
    "erasure.document_rows": _documents,
    "erasure.document_chunk_rows": _documents,
    "erasure.document_sources": lambda t, s: {"tenant": t, "documents": [s.bare_document]},
    "erasure.document_requests": _documents,
    "erasure.document_answers": _documents,
    "erasure.document_left": _documents,
    "erasure.document_answers_left": _documents,
    "erasure.lock_unused_groups": lambda t, s: {"tenant": t},
    "erasure.unused_groups": lambda t, s: {"tenant": t, "acl": ACLS},
    "erasure.user_requests": lambda t, s: {"tenant": t, "user": f"{s.canary}-person"},
    "erasure.user_answers": lambda t, s: {"tenant": t, "user": f"{s.canary}-person", "limit": 100},
    "erasure.user_answers_left": lambda t, s: {"tenant": t, "user": f"{s.canary}-person"},
    "retention.get": lambda t, s: {"tenant": t},
    "retention.set": lambda t, s: {"tenant": t, "answers_days": 1, "jobs_days": None, "versions_days": 0},
    "retention.purge_answers": _aged,
    "retention.purge_jobs": _aged,
    "retention.purge_versions": _aged,
}
