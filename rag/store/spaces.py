"""Embedding spaces as an operator manages them: which there are, who is active on which, and the flip to another."""

from datetime import datetime

import msgspec

from rag.audit import Act, Event, Resource
from rag.domain import TenantId
from rag.errors import Conflict, NotFound
from rag.store.approvals import PrivilegedAct
from rag.store.audit import record
from rag.store.database import ControlConnection
from rag.store.statements import statement


class EmbeddingSpace(msgspec.Struct, frozen=True, kw_only=True):
    """A space and its use: the slugs of the tenants active on it; how many of all `chunks` have a vector in it."""

    space: str
    model: str
    revision: str
    dimensions: int
    chunker_version: str
    created_at: datetime
    tenants: list[str]
    chunks: int
    embedded: int


async def list_spaces(connection: ControlConnection) -> list[EmbeddingSpace]:
    """Every embedding space by name; counts the vectors, which takes a while where there are many."""
    rows = await (await connection.execute(statement("spaces.usage"))).fetchall()
    return [EmbeddingSpace(**row) for row in rows]


async def activation(connection: ControlConnection, space: str, tenant: TenantId | None) -> PrivilegedAct:
    """The privileged act of making a space the active one, of a tenant or of all; raises `NotFound`."""
    row = await (await connection.execute(statement("spaces.known"), {"space": space})).fetchone()
    if not row or not row["known"]:
        raise NotFound(f"no embedding space '{space}'")
    return PrivilegedAct(name="space.activate", subject=tenant, arguments={"space": space})


async def activate_space(connection: ControlConnection, space: str, *, tenant: TenantId | None = None) -> list[str]:
    """Make a space the active one of a tenant, or of all, and outdate their cached results; gives the slugs flipped.

    Raises `NotFound` for a space that there is not, `Conflict` when a chunk has no vector in it: nothing is changed
    then. Whoever is active on it already is left alone.
    """
    await activation(connection, space, tenant)
    values = {"space": space, "subject": tenant}
    rows = await (await connection.execute(statement("spaces.activate"), values)).fetchall()
    if lacking := [row for row in rows if row["missing"]]:
        first = f"{lacking[0]['missing']} chunks of '{lacking[0]['slug']}' have no vector in '{space}'"
        raise Conflict(first + (f", and {len(lacking) - 1} more tenants lack some" if lacking[1:] else ""))
    flipped = [row["slug"] for row in rows]
    if flipped:
        resource = Resource("embedding_space", space, space)
        await record(
            connection, tenant, Event(act=Act.SPACE_ACTIVATE, resource=resource, detail={"tenants": len(flipped)})
        )
    return flipped
