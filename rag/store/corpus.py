"""A tenant's corpus as a whole: its version, its embedding space, its lexeme statistics."""

from typing import Any

import msgspec

from rag.domain import TenantId
from rag.errors import InterruptedDocument, NotFound
from rag.store.database import TenantConnection
from rag.store.statements import statement
from rag.tenancy import Principal


class CollectionState(msgspec.Struct, frozen=True):
    """What the search needs to know of a collection."""

    collection_id: int
    name: str
    language: str
    chunk_count: int
    refusal_threshold: float | None
    facet_fields: list[str] = []
    has_synonyms: bool = False
    has_pins: bool = False


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's corpus at one moment, as one principal may see it.

    `restricted`: groups close a part of it. `partitioned`: its vectors stand in a partition of the tenant's own.
    """

    corpus_version: int
    space: str
    model: str
    revision: str
    dimensions: int
    chunk_count: int
    acl_ids: list[int]
    restricted: bool
    partitioned: bool
    collections: list[CollectionState]


class Writing(msgspec.Struct, frozen=True):
    """Where new chunks of a tenant go."""

    space: str
    model: str
    revision: str
    dimensions: int
    chunker_version: str
    average_length: float | None


async def read_corpus(connection: TenantConnection, principal: Principal) -> Corpus:
    """The corpus as this principal may see it: a collection that is not for it is not there."""
    values = {
        "tenant": principal.tenant,
        "groups": list(principal.groups),
        "all_groups": principal.reads_all_groups,
    }
    row = await (await connection.execute(statement("corpus.state"), values)).fetchone()
    if row is None:
        raise NotFound("the tenant was deleted")
    corpus = msgspec.convert(row, Corpus)
    if principal.collections is None:
        return corpus
    return msgspec.structs.replace(
        corpus, collections=[found for found in corpus.collections if found.name in principal.collections]
    )


async def read_writing(connection: TenantConnection, tenant: TenantId) -> Writing:
    """The space that the tenant's new chunks go to; raises `NotFound` when the tenant was deleted."""
    row = await (await connection.execute(statement("corpus.writing"), {"tenant": tenant})).fetchone()
    if row is None:
        raise NotFound("the tenant was deleted")
    return Writing(**row)


async def touch_corpus(connection: TenantConnection, tenant: TenantId, *, chunks: int, space: str | None = None) -> int:
    """Count a write in its own transaction: the corpus version it returns outdates every cached result.

    `space` is where the write's vectors went: `InterruptedDocument` when the tenant was moved to another meanwhile.
    """
    row = await (await connection.execute(statement("corpus.touch"), {"tenant": tenant, "chunks": chunks})).fetchone()
    if row is None:
        raise NotFound("the tenant was deleted")
    if space not in {None, row["space"]}:
        raise InterruptedDocument("the tenant was moved to another embedding space meanwhile")
    return int(row["corpus_version"])


async def refresh_statistics(connection: TenantConnection, tenant: TenantId) -> bool:
    """Bring document frequencies and length norms up to the corpus; False when they describe it already.

    Waits for another refresh of the same tenant to end.
    """
    values: dict[str, Any] = {"tenant": tenant}
    await connection.execute(statement("corpus.stats_lock"), values)
    due = await (await connection.execute(statement("corpus.stats_due"), values)).fetchone()
    if not due or not due["due"]:
        return False
    await connection.execute(statement("corpus.stats_refresh"), values)
    row = await (await connection.execute(statement("corpus.stats_measure"), values)).fetchone()
    average = row["average"] if row else None
    if average:
        await connection.execute(statement("corpus.stats_renormalise"), {**values, "average": average})
    # After the chunks' rows, as in a write: two that take them in turns never wait for each other in a ring.
    for name in ("vocabulary.forget", "vocabulary.review"):
        await connection.execute(statement(name), values)
    kept = {**values, "corpus_version": due["corpus_version"], "average": average}
    await connection.execute(statement("corpus.stats_keep"), kept)
    return True
