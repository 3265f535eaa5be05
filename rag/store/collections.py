"""Collections: named sets of a tenant's documents."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from rag.audit import Act, Detail, Event, Resource
from rag.domain import Collection, TenantId
from rag.errors import Conflict, InvalidInput, NotFound, WriteConflict
from rag.store.approvals import PrivilegedAct
from rag.store.audit import record
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
    synonyms: list[list[str]] | msgspec.UnsetType = msgspec.UNSET


async def create_collection(
    connection: TenantConnection,
    tenant: TenantId,
    name: str,
    *,
    language: str = "english",
    refusal_threshold: float | None = None,
    facet_fields: list[str] | None = None,
    synonyms: list[list[str]] | None = None,
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
        "synonyms": Jsonb(synonyms or []),
    }
    row = await (await connection.execute(statement("collections.create"), values)).fetchone()
    if row is None:
        raise Conflict(f"a collection '{name}' exists already")
    made = _settings({"language": language, "refusal_threshold": refusal_threshold, "facet_fields": facet_fields})
    await record(connection, tenant, _event(Act.COLLECTION_CREATE, name, made))
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


async def as_readable(
    connection: TenantConnection, tenant: TenantId, collections: Sequence[Collection], acl: Sequence[int]
) -> list[Collection]:
    """The collections with the counts of what these access sets open, and of nothing else."""
    values = {"tenant": tenant, "names": [collection.name for collection in collections], "acl": list(acl)}
    rows = await (await connection.execute(statement("collections.readable"), values)).fetchall()
    counts = {row.pop("name"): row for row in rows}
    none = {"document_count": 0, "chunk_count": 0}
    return [msgspec.structs.replace(found, **counts.get(found.name, none)) for found in collections]


async def locate_collection(connection: TenantConnection, tenant: TenantId, name: str) -> tuple[int, str]:
    """The number and the language of a collection, which stays until the transaction ends; raises `NotFound`."""
    values = {"tenant": tenant, "name": name}
    row = await (await connection.execute(statement("collections.locate"), values)).fetchone()
    if row is None:
        raise _absent(name)
    return row["collection_id"], row["language"]


def loosening(
    tenant: TenantId, before: Collection, change: CollectionChange, *, default: float
) -> PrivilegedAct | None:
    """The privileged act of answering what was refused until now; None when the change does not lower the threshold.

    `default` is what holds where a collection has no threshold of its own.
    """
    if change.refusal_threshold is msgspec.UNSET:
        return None
    old, new = (default if each is None else each for each in (before.refusal_threshold, change.refusal_threshold))
    if new >= old:
        return None
    arguments: dict[str, Detail] = {"collection": before.name, "from": str(old), "to": str(new)}
    return PrivilegedAct(name="collection.loosen", subject=tenant, arguments=arguments)


async def update_collection(
    connection: TenantConnection,
    tenant: TenantId,
    name: str,
    change: CollectionChange,
    *,
    before: Collection | None = None,
) -> Collection:
    """Change what is set of a collection; the next search follows it. Raises `NotFound`.

    `before` is the state that the change was judged by: `WriteConflict` when its threshold is another by now.
    """
    if before is not None:
        await connection.execute(statement("collections.lock"), {"tenant": tenant, "name": name})
        if (await get_collection(connection, tenant, name)).refusal_threshold != before.refusal_threshold:
            raise WriteConflict("two changes of a collection met, and this one was undone", retry_after=0.5)
    set_threshold = change.refusal_threshold is not msgspec.UNSET
    values = {
        "tenant": tenant,
        "name": name,
        "set_threshold": set_threshold,
        "refusal_threshold": change.refusal_threshold if set_threshold else None,
        "facet_fields": None if change.facet_fields is msgspec.UNSET else change.facet_fields,
        "synonyms": None if change.synonyms is msgspec.UNSET else Jsonb(change.synonyms),
    }
    row = await (await connection.execute(statement("collections.update"), values)).fetchone()
    if row is None:
        raise _absent(name)
    if change.facet_fields is not msgspec.UNSET:
        await _keep_facets(connection, tenant, name)
    await touch_corpus(connection, tenant, chunks=0)
    changed = {field: value for field, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}
    await record(connection, tenant, _event(Act.COLLECTION_UPDATE, name, _settings(changed)))
    return Collection(**row)


async def synonyms_of(connection: TenantConnection, tenant: TenantId, numbers: Sequence[int]) -> list[list[str]]:
    """The lists of words of one meaning of these collections."""
    values = {"tenant": tenant, "collections": list(numbers)}
    rows = await (await connection.execute(statement("collections.synonyms"), values)).fetchall()
    return [group for row in rows for group in row["synonyms"]]


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
    await record(connection, tenant, _event(Act.COLLECTION_DELETE, name, {"chunks": row["chunk_count"]}))


def _event(act: Act, name: str, detail: dict[str, Detail]) -> Event:
    return Event(act=act, resource=Resource("collection", name, name), detail=detail)


def _settings(given: dict[str, Any]) -> dict[str, Detail]:
    return {name: _told(value) for name, value in given.items()}


def _told(value: Any) -> Detail:
    """A setting as the audit trail has it: no float, and no list in a list."""
    if isinstance(value, list) and any(isinstance(each, list) for each in value):
        return [" = ".join(each) for each in value]
    return str(value) if isinstance(value, float) else value


async def _keep_facets(connection: TenantConnection, tenant: TenantId, name: str) -> None:
    number, _ = await locate_collection(connection, tenant, name)
    for step in ("facets.drop", "facets.keep"):
        await connection.execute(statement(step), {"tenant": tenant, "collection": number, "document": None})


def _absent(name: str) -> NotFound:
    return NotFound(f"no collection '{name}'")
