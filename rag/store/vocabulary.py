"""The words of a tenant's corpus as they are written: what completes a beginning and what corrects a misspelling.

The vocabulary is the tenant's as a whole. What a caller is shown of it passes through `count_words`, which sees the
caller's scope alone.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from rag.domain import TenantId
from rag.store.database import TenantConnection
from rag.store.search import SearchScope
from rag.store.statements import statement

COMMON: Final = 64  # chunks: a word is counted no further
_NEAR: Final = 300  # words as near as a misspelling, of which the commonest are measured


class WordCount(msgspec.Struct, frozen=True):
    """In how many chunks of a scope a word stands, up to `COMMON`; None for a stop word.

    `beside` counts those that hold another of the query's words too; `written` says that one of them spells it so.
    """

    word: str
    chunks: int | None
    beside: int | None
    written: bool | None


class NearWord(msgspec.Struct, frozen=True):
    """A word of the tenant that `typed`, which folds to `folded`, may be a misspelling of."""

    typed: str
    folded: str
    word: str
    document_frequency: int


async def learn_words(connection: TenantConnection, tenant: TenantId, texts: Sequence[str], language: str) -> None:
    """Add the words of texts that go into service, in the transaction that brings them there."""
    values = {"tenant": tenant, "texts": list(texts), "language": language}
    await connection.execute(statement("vocabulary.learn"), values)


async def count_words(
    connection: TenantConnection,
    scope: SearchScope,
    words: Sequence[str],
    languages: Iterable[str],
    *,
    begins: bool = False,
    beside: str | None = None,
    confinement: str | None = None,
    trusting: bool = False,
) -> list[WordCount]:
    """Count words in a caller's scope, in order; with `begins` the last one may go on.

    The query's own filter is left out: a word is no misspelling for being outside of it. `confinement` is the filter
    that the caller's credential carries. `trusting` believes the tenant's statistics of common words, which is right
    for a caller to whom nothing is closed. `beside` are the query's other words; `written` is looked at with it only.
    """
    values: dict[str, Any] = {
        "tenant": scope.tenant,
        "words": list(words),
        "begins": begins,
        "languages": sorted(set(languages)),
        "beside": beside,
        "collections": scope.collections,
        "acl": scope.acl,
        "confinement": confinement,
        "most": COMMON,
        "trusting": trusting,
    }
    rows = await (await connection.execute(statement("vocabulary.count"), values)).fetchall()
    return [WordCount(**row) for row in rows]


async def near_words(
    connection: TenantConnection, tenant: TenantId, words: Sequence[str], edits: Sequence[int], *, begins: bool
) -> list[NearWord]:
    """The tenant's words that may have been meant, for each word the commonest first; with `begins` the last may go on.

    A superset of what is within so many edits, and of what the caller may be shown.
    """
    values = {"tenant": tenant, "words": list(words), "edits": list(edits), "begins": begins, "limit": _NEAR}
    rows = await (await connection.execute(statement("vocabulary.near"), values)).fetchall()
    return [NearWord(**row) for row in rows]
