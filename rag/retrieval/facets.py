"""Facets: how many of the documents that match a query have each value of a field."""

from collections.abc import Sequence

from rag.errors import InvalidInput
from rag.store.corpus import CollectionState
from rag.store.database import TenantConnection
from rag.store.matches import FacetField, Facets, count_facets, path_of
from rag.store.search import LexicalPlan, SearchScope
from rag.telemetry import stage


async def facets_of(
    connection: TenantConnection,
    scope: SearchScope,
    chosen: Sequence[CollectionState],
    fields: Sequence[str],
    plan: LexicalPlan | None,
    times: dict[str, float] | None = None,
) -> Facets:
    """The exact counts of each field over the documents with a chunk that holds any of the plan's terms.

    Without a plan every document of the scope counts. A collection that names its facet fields is counted by those
    alone; raises `InvalidInput` for a field that no searched collection lets be counted.
    """
    if not fields:
        return Facets({}, {})
    allowed = [_field(name, place, chosen) for place, name in enumerate(fields)]
    with stage("facets", times):
        return await count_facets(connection, scope, allowed, plan)


def _field(name: str, place: int, chosen: Sequence[CollectionState]) -> FacetField:
    allowing = [c for c in chosen if not c.facet_fields or name in c.facet_fields]
    if chosen and not allowing:
        raise InvalidInput(f"'{name}' is no facet field of the searched collections", pointer=f"/facets/{place}")
    numbers = None if len(allowing) == len(chosen) else [c.collection_id for c in allowing]
    return FacetField(name, path_of(name), numbers, kept=all(c.facet_fields for c in allowing))
