"""What a searcher is: the retriever, and the cache that wraps it."""

from typing import Protocol, runtime_checkable

from rag.domain import Query, SearchResult
from rag.tenancy import Principal


@runtime_checkable
class Searcher(Protocol):
    """From a query to hits, as far as a principal may see them."""

    async def search(self, principal: Principal, query: Query) -> SearchResult:
        """The hits of a query, best first; no hit is an empty list, never an error."""
        ...
