"""Collections: named sets of a tenant's documents."""

import re
from typing import Final

import msgspec

from rag.domain import Collection, TenantId
from rag.errors import Conflict, InvalidInput, NotFound
from rag.store.corpus import touch_corpus
from rag.store.database import TenantConnection
from rag.store.statements import statement

LANGUAGES: Final = frozenset(
    (
        "arabic armenian basque catalan danish dutch english estonian finnish french german greek hindi "
        "hungarian indonesian irish italian lithuanian nepali norwegian portuguese romanian russian serbian "
        "simple spanish swedish tamil turkish yiddish"
    ).split()
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class CollectionChange(msgspec.Struct, frozen=True):
    """What to change of a collection; UNSET leaves a thing as it is."""

    refusal_threshold: float | msgspec.UnsetType | None = msgspec.UNSET
    facet_fields: list[str] | msgspec.UnsetType = msgspec.UNSET


async def create_collection(
    connection: TenantConnection,
    tenant: TenantId,
    name: str,
    *,
    language: str = "english",
    refusal_threshold: float | None = None,
    facet_fields: list[str] | None = None,
) -> Collection:
    """Make a collection; raises `Conflict` when the name is taken, `InvalidInput` for a name or language."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "use 1 to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit", pointer="/name"
        )
    if language not in LANGUAGES:
        raise InvalidInput(f"one of: {', '.join(sorted(LANGUAGES))}", pointer="/language")
    values = {
        "tenant": tenant,
        "name": name,
        "language": language,
        "refusal_threshold": refusal_threshold,
        "facet_fields": facet_fields or [],
    }
    row = await (await connection.execute(statement("collections.create"), values)).fetchone()
    if row is None:
        raise Conflict(f"a collection '{name}' exists already")
    return Collection(**row)


async def list_collections(
    connection: TenantConnection, tenant: TenantId, *, after: str = "", limit: int = 100
) -> list[Collection]:
    """The tenant's collections by name, those after `after`."""
    values = {"tenant": tenant, "after": after, "limit": limit}
    rows = await (await connection.execute(statement("collections.list"), values)).fetchall()
    return [Collection(**row) for row in rows]


async def get_collection(connection: TenantConnection, tenant: TenantId, name: str) -> Collection:
    """One collection; raises `NotFound`."""
    values = {"tenant": tenant, "name": name}
    row = await (await connection.execute(statement("collections.get"), values)).fetchone()
    if row is None:
        raise _absent(name)
    return Collection(**row)


async def locate_collection(connection: TenantConnection, tenant: TenantId, name: str) -> tuple[int, str]:
    """The number and the language of a collection, which stays until the transaction ends; raises `NotFound`."""
    values = {"tenant": tenant, "name": name}
    row = await (await connection.execute(statement("collections.locate"), values)).fetchone()
    if row is None:
        raise _absent(name)
    return row["collection_id"], row["language"]


async def update_collection(
    connection: TenantConnection, tenant: TenantId, name: str, change: CollectionChange
) -> Collection:
    """Change what is set of a collection; raises `NotFound`."""
    set_threshold = change.refusal_threshold is not msgspec.UNSET
    values = {
        "tenant": tenant,
        "name": name,
        "set_threshold": set_threshold,
        "refusal_threshold": change.refusal_threshold if set_threshold else None,
        "facet_fields": None if change.facet_fields is msgspec.UNSET else change.facet_fields,
    }
    row = await (await connection.execute(statement("collections.update"), values)).fetchone()
    if row is None:
        raise _absent(name)
    return Collection(**row)


async def delete_collection(connection: TenantConnection, tenant: TenantId, name: str) -> None:
    """Remove a collection with all its documents; raises `NotFound`."""
    values = {"tenant": tenant, "name": name}
    found = await (await connection.execute(statement("collections.lock"), values)).fetchone()
    if found is None:
        raise _absent(name)
    collection = {"tenant": tenant, "collection": found["collection_id"]}
    for forget in ("answers.forget_collection", "ingest.cancel_collection", "ingest.forget_collection"):
        await connection.execute(statement(forget), collection)
    row = await (await connection.execute(statement("collections.delete"), values)).fetchone()
    if row is None:
        raise _absent(name)
    await touch_corpus(connection, tenant, chunks=-row["chunk_count"])


def _absent(name: str) -> NotFound:
    return NotFound(f"no collection '{name}'")
