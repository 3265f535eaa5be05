"""All that matches a query, rather than its best: in another order, a document at a time, counted by facet."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from rag.domain import ChunkId, FacetCount, FacetStats, Sort
from rag.store.database import TenantConnection
from rag.store.search import LexicalPlan, SearchScope
from rag.store.statements import statement

_VALUES: Final = 50  # of a facet at most
_RANGES: Final = 10


class FacetField(msgspec.Struct, frozen=True):
    """A metadata field to count by, and the collections that let it be counted; None for all.

    `kept` says that each of them names it as a facet field, so that it stands in `document_facets`.
    """

    field: str
    path: list[str]
    collections: list[int] | None
    kept: bool


class Facets(msgspec.Struct, frozen=True):
    """The counts of each field, and of those with numbers the least and the greatest."""

    counts: dict[str, list[FacetCount]]
    stats: dict[str, FacetStats]


def path_of(field: str) -> list[str]:
    """The steps of a field's name: a dot steps into an object, as in a filter."""
    return field.split(".")


async def sorted_matches(
    connection: TenantConnection, scope: SearchScope, plan: LexicalPlan, sort: Sort, *, by_document: bool, limit: int
) -> list[tuple[ChunkId, float]]:
    """The chunks that match, in the order of a field, each with its BM25; with `by_document` the best of each."""
    values = {
        **_values(scope),
        **_order(sort),
        "terms": plan.every_term,
        "weights": plan.weights,
        "by_document": by_document,
        "limit": limit,
    }
    rows = await (await connection.execute(statement("matches.sorted"), values)).fetchall()
    return [(row["chunk_id"], row["score"]) for row in rows]


async def documents_of(
    connection: TenantConnection, scope: SearchScope, chunks: Sequence[ChunkId], sort: Sort | None = None
) -> dict[ChunkId, UUID]:
    """The document of each chunk, in the order given or, with a sort, in that of its field."""
    values = {"tenant": scope.tenant, "chunks": list(chunks), **_order(sort)}
    rows = await (await connection.execute(statement("matches.of_documents"), values)).fetchall()
    return {row["chunk_id"]: row["document_id"] for row in rows}


async def pinned_chunks(
    connection: TenantConnection, scope: SearchScope, query: str, plan: LexicalPlan | None
) -> dict[UUID, ChunkId]:
    """The documents pinned to a folded query that the scope holds, in order, each with its best chunk."""
    values = {**_values(scope), "query": query, "weights": plan.weights if plan else None}
    rows = await (await connection.execute(statement("matches.pinned"), values)).fetchall()
    return {row["document_id"]: row["chunk_id"] for row in rows}


async def count_facets(
    connection: TenantConnection, scope: SearchScope, fields: Sequence[FacetField], plan: LexicalPlan | None
) -> Facets:
    """Count the documents that match by the values of their fields; without a plan, all documents of the scope.

    Of a field at most 50 values, the commonest first, numbers in their order; of more numbers about 10 ranges.
    """
    values = {
        **_values(scope),
        "fields": Jsonb(msgspec.to_builtins(fields)),
        "terms": plan.every_term if plan else None,
        "limit": _VALUES,
        "ranges": _RANGES,
    }
    rows = await (await connection.execute(statement("facets.count"), values)).fetchall()
    stats = {r["field"]: FacetStats(r["low"], r["high"]) for r in rows if r["documents"] is None}
    counts: dict[str, list[FacetCount]] = {field.field: [] for field in fields}
    for row in sorted((row for row in rows if row["documents"] is not None), key=_place):
        value, low, high = row["value"], row["low"], row["high"]
        counts[row["field"]].append(FacetCount(count=row["documents"], value=value, min=low, max=high))
    return Facets(counts, stats)


def _place(row: dict[str, Any]) -> tuple[bool, float, str]:
    """Words and truths by how many they are, then numbers and ranges by size."""
    if row["low"] is not None:
        return True, row["low"], ""
    if isinstance(row["value"], (int, float)) and not isinstance(row["value"], bool):
        return True, row["value"], ""
    return False, -row["documents"], str(row["value"])


def _order(sort: Sort | None) -> dict[str, Any]:
    return {"path": path_of(sort.field) if sort else None, "descending": bool(sort and sort.order == "desc")}


def _values(scope: SearchScope) -> dict[str, Any]:
    return {"tenant": scope.tenant, "collections": scope.collections, "acl": scope.acl, "filter": scope.filter}
