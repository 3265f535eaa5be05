"""Pins: the documents of a collection that stand above the hits of a query."""

from collections.abc import Sequence

from rag.audit import Act, Event, Resource
from rag.domain import Pin, TenantId
from rag.store.audit import record
from rag.store.collections import locate_collection
from rag.store.corpus import touch_corpus
from rag.store.database import TenantConnection
from rag.store.statements import statement


async def list_pins(connection: TenantConnection, tenant: TenantId, collection: str) -> list[Pin]:
    """The pins of a collection, by query; raises `NotFound`."""
    number, _ = await locate_collection(connection, tenant, collection)
    values = {"tenant": tenant, "collection": number}
    rows = await (await connection.execute(statement("pins.list"), values)).fetchall()
    return [Pin(row["query"], row["external_ids"]) for row in rows]


async def replace_pins(connection: TenantConnection, tenant: TenantId, collection: str, pins: Sequence[Pin]) -> None:
    """Make these the pins of a collection, their queries folded; the next search follows them. Raises `NotFound`."""
    number, _ = await locate_collection(connection, tenant, collection)
    values = {"tenant": tenant, "collection": number}
    await connection.execute(statement("pins.clear"), values)
    async with connection.cursor() as cursor:
        rows = [{**values, "query": pin.query, "external_ids": list(pin.documents)} for pin in pins]
        await cursor.executemany(statement("pins.put"), rows)
    await touch_corpus(connection, tenant, chunks=0)
    pinned = Event(
        act=Act.COLLECTION_UPDATE,
        resource=Resource("collection", collection, collection),
        detail={"pinned": [pin.query for pin in pins]},
    )
    await record(connection, tenant, pinned)
