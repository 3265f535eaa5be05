"""/v1/collections: named sets of documents."""

from typing import Final

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from rag.api.access import Cost, allow
from rag.api.cursors import cut, decode_cursor
from rag.api.idempotency import REPLAYED
from rag.api.schemas import ApprovalId, CollectionPage, CollectionPatch, CollectionRequest, Cursor, Limit, Pins
from rag.domain import Collection, Pin, Scope
from rag.errors import InvalidInput
from rag.retrieval.wording import fold
from rag.settings import Settings
from rag.store import collections as store
from rag.store import pins
from rag.store.approvals import require_approval
from rag.store.corpus import read_corpus
from rag.store.database import Database, TenantConnection
from rag.tenancy import Principal

_DELETE_SECONDS: Final = 120.0  # its documents go with it
_CHANGE_SECONDS: Final = 120.0  # other facet fields are read from all of its documents
_READ: Final = allow(Scope.SEARCH, Scope.INGEST, Scope.MANAGE)
_WRITE: Final = allow(Scope.INGEST, Scope.MANAGE, cost=Cost.WRITE)


@get(
    "/v1/collections",
    operation_id="listCollections",
    tags=["collections"],
    summary="List collections",
    opt=_READ,
)
async def list_collections(
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> CollectionPage:
    """The tenant's collections by name."""
    after = decode_cursor(cursor, str) or ""
    async with database.tenant(principal.tenant) as connection:
        found = await store.list_collections(connection, principal.tenant, after=after, limit=limit + 1)
        found = await _shown(connection, principal, found)
    data, more, following = cut(found, limit, lambda collection: collection.name)
    return CollectionPage(data=data, has_more=more, next_cursor=following)


@post(
    "/v1/collections",
    operation_id="createCollection",
    tags=["collections"],
    summary="Make a collection",
    opt={**_WRITE, **REPLAYED, "problems": (409,), "location": True},
)
async def create_collection(
    data: JSONBody[CollectionRequest], principal: NamedDependency[Principal], database: NamedDependency[Database]
) -> Response[Collection]:
    """Make an empty collection in one language; the name and the language stay."""
    async with database.tenant(principal.tenant) as connection:
        made = await store.create_collection(
            connection,
            principal.tenant,
            data.name,
            language=data.language,
            refusal_threshold=data.refusal_threshold,
            facet_fields=data.facet_fields,
            synonyms=data.synonyms,
        )
    return Response(made, headers={"Location": f"/v1/collections/{made.name}"})


@get(
    "/v1/collections/{collection:str}",
    operation_id="getCollection",
    tags=["collections"],
    summary="Read a collection",
    opt=_READ,
)
async def get_collection(
    collection: FromPath[str], principal: NamedDependency[Principal], database: NamedDependency[Database]
) -> Collection:
    """The collection with its counts."""
    async with database.tenant(principal.tenant) as connection:
        found = await store.get_collection(connection, principal.tenant, collection)
        (shown,) = await _shown(connection, principal, [found])
    return shown


@patch(
    "/v1/collections/{collection:str}",
    operation_id="changeCollection",
    tags=["collections"],
    summary="Change a collection",
    opt={**_WRITE, "problems": (409,)},
)
async def change_collection(
    collection: FromPath[str],
    data: JSONBody[CollectionPatch],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    approval: ApprovalId = None,
) -> Collection:
    """Change what is given; a null threshold goes back to the default. Lowering the threshold is a privileged act."""
    tenant, required = principal.tenant, settings.approvals_required
    change = store.CollectionChange(
        refusal_threshold=data.refusal_threshold, facet_fields=data.facet_fields, synonyms=data.synonyms
    )
    async with database.tenant(tenant, timeout_s=_CHANGE_SECONDS) as connection:
        before = await store.get_collection(connection, tenant, collection)
        if act := store.loosening(tenant, before, change, default=settings.refusal_threshold):
            await require_approval(connection, act, by=database.by, approval=approval, required=required)
        return await store.update_collection(connection, tenant, collection, change, before=before)


@get(
    "/v1/collections/{collection:str}/pins",
    operation_id="listPins",
    tags=["collections"],
    summary="Read what is pinned",
    opt=_WRITE,
)
async def list_pins(
    collection: FromPath[str], principal: NamedDependency[Principal], database: NamedDependency[Database]
) -> Pins:
    """The documents that stand above the hits of certain queries."""
    async with database.tenant(principal.tenant) as connection:
        return Pins(await pins.list_pins(connection, principal.tenant, collection))


@put(
    "/v1/collections/{collection:str}/pins",
    operation_id="replacePins",
    tags=["collections"],
    summary="Pin documents to queries",
    opt=_WRITE,
)
async def replace_pins(
    collection: FromPath[str],
    data: JSONBody[Pins],
    principal: NamedDependency[Principal],
    database: NamedDependency[Database],
) -> Pins:
    """Make these the collection's pins; a caller who may not read a pinned document is not shown it."""
    async with database.tenant(principal.tenant) as connection:
        await pins.replace_pins(connection, principal.tenant, collection, folded(data.pins))
        return Pins(await pins.list_pins(connection, principal.tenant, collection))


async def _shown(connection: TenantConnection, principal: Principal, found: list[Collection]) -> list[Collection]:
    # Whoever writes documents sees them all; a reader's counts are of what its groups open.
    if principal.reads_all_groups or principal.scopes & {Scope.INGEST, Scope.MANAGE}:
        return found
    acl = (await read_corpus(connection, principal)).acl_ids
    return await store.as_readable(connection, principal.tenant, found, acl)


def folded(given: list[Pin]) -> list[Pin]:
    """Pins by their folded queries; raises `InvalidInput` for a query of no words, or given twice."""
    found: dict[str, Pin] = {}
    for place, pin in enumerate(given):
        query = fold(pin.query)
        if not query or query in found:
            said = "there is no word in it" if not query else "pinned already: case and accents make no other query"
            raise InvalidInput(said, pointer=f"/pins/{place}/query")
        found[query] = Pin(query, pin.documents)
    return list(found.values())


@delete(
    "/v1/collections/{collection:str}",
    operation_id="deleteCollection",
    tags=["collections"],
    summary="Delete a collection with its documents",
    opt=_WRITE,
)
async def delete_collection(
    collection: FromPath[str], principal: NamedDependency[Principal], database: NamedDependency[Database]
) -> None:
    """Remove the collection and all its documents; no search finds them from then on."""
    async with database.tenant(principal.tenant, timeout_s=_DELETE_SECONDS) as connection:
        await store.delete_collection(connection, principal.tenant, collection)


ROUTES: Final = (
    list_collections,
    create_collection,
    get_collection,
    change_collection,
    list_pins,
    replace_pins,
    delete_collection,
)
