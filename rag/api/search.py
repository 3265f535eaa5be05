"""POST /v1/search."""

import time
from typing import Any, Final
from uuid import uuid4

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from rag.api.access import Cost, allow
from rag.api.idempotency import EXEMPT
from rag.api.schemas import SearchRequest, SearchResponse
from rag.domain import Query, Scope
from rag.errors import Forbidden
from rag.retrieval.base import Searcher
from rag.retrieval.filters import compile_filter
from rag.tenancy import Principal


@post(
    "/v1/search",
    status_code=200,
    operation_id="search",
    tags=["search"],
    summary="Find the passages nearest to a query",
    opt={**allow(Scope.SEARCH, publishable=True, cost=Cost.SEARCH), **EXEMPT, "problems": (403, 404)},
)
async def search(
    data: JSONBody[SearchRequest],
    principal: NamedDependency[Principal],
    searcher: NamedDependency[SkipValidation[Searcher]],  # a protocol cannot be checked at run time
) -> SearchResponse:
    """Passages of the tenant's documents that the key may read, best first; no hit is an empty list."""
    if data.explain and principal.kind == "publishable":
        raise Forbidden("a publishable key is not told how a result came about")
    started = time.perf_counter()
    query = Query(
        text=data.query,
        collections=None if data.collections is None else tuple(data.collections),
        limit=data.limit,
        offset=data.offset,
        mode=data.mode,
        filter=compiled(data.filters),
        highlight=data.highlight,
        rerank=data.rerank,
        explain=data.explain,
        prefix=data.prefix,
        correct=data.correct,
        fallback=data.fallback,
        facets=tuple(dict.fromkeys(data.facets)),
        group_by=data.group_by,
        sort=data.sort,
    )
    result = await searcher.search(principal, query)
    return SearchResponse(
        query_id=uuid4(),
        hits=result.hits,
        facets=result.facets,
        facet_stats=result.facet_stats,
        corrected_query=result.corrected_query,
        fallback=result.fallback,
        cache=result.cache,
        corpus_version=result.corpus_version,
        embedding_space=result.embedding_space,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        explain=result.explain,
    )


def compiled(filters: dict[str, Any] | None) -> str | None:
    """The predicate of a filter; an empty one lets everything through, as none does."""
    return compile_filter(filters) if filters else None


ROUTES: Final = (search,)
