"""What a credential says of every search that is made with it, whatever the search itself says."""

import msgspec

from rag.domain import Query
from rag.tenancy import Principal


def confined(principal: Principal, query: Query) -> Query:
    """The query with the credential's filter added to its own, and no deeper than the credential may see.

    Its collections are another matter: those that are not for the principal are not in the corpus that it reads.
    """
    offset, limit = query.offset, query.limit
    if principal.max_hits is not None:
        offset = min(offset, principal.max_hits)
        limit = min(limit, principal.max_hits - offset)
    return msgspec.structs.replace(query, offset=offset, limit=limit, filter=_both(principal.filter, query.filter))


def _both(first: str | None, second: str | None) -> str | None:
    if first is None or second is None:
        return first or second
    return f"({first} && {second})"
