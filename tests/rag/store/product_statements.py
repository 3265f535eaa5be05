"""The statements of product search with their parameters, as tests/rag/store/test_two_tenants.py runs them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from pgvector import SparseVector
from psycopg.types.json import Jsonb

from tests.rag.store.conftest import Seed

ACLS = list(range(1, 100))  # every set of groups of every tenant
WEIGHTS = SparseVector({1: 1.0}, 1_000_000_000)


def _scope(tenant: UUID, seed: Seed) -> dict[str, Any]:
    return {"tenant": tenant, "terms": "'brake' | 'lever'", "collections": None, "acl": ACLS, "filter": None}


PRODUCT_STATEMENTS: dict[str, Callable[[UUID, Seed], dict[str, Any]]] = {
    "facets.count": lambda t, s: {
        **_scope(t, s),
        "fields": Jsonb([{"field": "brand", "path": ["brand"], "collections": None, "kept": True}]),
        "limit": 50,
        "ranges": 10,
    },
    "facets.keep": lambda t, s: {"tenant": t, "document": s.document, "collection": s.collection},
    "facets.drop": lambda t, s: {"tenant": t, "collection": s.collection},
    "matches.sorted": lambda t, s: {
        **_scope(t, s),
        "weights": WEIGHTS,
        "path": ["brand"],
        "descending": False,
        "by_document": False,
        "limit": 100,
    },
    "matches.of_documents": lambda t, s: {"tenant": t, "chunks": s.chunks, "path": ["brand"], "descending": True},
    "matches.pinned": lambda t, s: {**_scope(t, s), "query": "brake", "weights": WEIGHTS},
    "pins.list": lambda t, s: {"tenant": t, "collection": s.collection},
    "pins.clear": lambda t, s: {"tenant": t, "collection": s.collection},
    "pins.put": lambda t, s: {
        "tenant": t,
        "collection": s.collection,
        "query": "brake",
        "external_ids": [s.canary],
    },
    "collections.synonyms": lambda t, s: {"tenant": t, "collections": [s.collection]},
    "vocabulary.learn": lambda t, s: {"tenant": t, "texts": ["unheardof"], "language": "english"},
    "vocabulary.review": lambda t, s: {"tenant": t},
    "vocabulary.forget_unwritten": lambda t, s: {"tenant": t},
    "vocabulary.forget": lambda t, s: {"tenant": t},
    "vocabulary.count": lambda t, s: {
        "tenant": t,
        "words": ["lever", s.word],
        "begins": True,
        "languages": ["english"],
        "beside": "brake",
        "collections": None,
        "acl": ACLS,
        "confinement": None,
        "most": 64,
        "trusting": True,
    },
    "vocabulary.near": lambda t, s: {
        "tenant": t,
        "words": ["levre", f"x{s.canary}"],
        "edits": [1, 1],
        "begins": True,
        "limit": 100,
    },
}
