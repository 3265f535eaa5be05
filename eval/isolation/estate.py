"""Two throwaway tenants, their callers, and the canaries in their documents.

alpha    `open` for every reader, `red` and `blue` for a group each, one document that could not be read
beta     `open` for every reader, `red` for a group of the same name
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from eval.isolation.callers import Caller
from eval.isolation.canaries import Canaries, Canary, Kind, new_word
from eval.isolation.service import Ask, Reply, Service
from rag.domain import TenantId
from rag.errors import SetupError
from rag.services import Services
from rag.store.ingestion import some_jobs

ALPHA: Final = "alpha"
BETA: Final = "beta"
_INGEST_S: Final = 120.0
_LOOK_S: Final = 0.2
_REVOCATION_S: Final = 5.0  # a revoked key may be accepted for as long

_UNSAID: Final = frozenset({"secret", "chunk_id"})


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document made of canaries. `secret` stands in its text and is never sent to the service again.

    `spare` is the name of another collection of the tenant: not under watch, since other tenants may take it too.
    """

    tenant: str
    name: str
    groups: tuple[str, ...]
    collection: str
    spare: str
    external_id: str
    title: str
    heading: str
    text: str
    secret: str
    shelf: str
    uri: str

    @classmethod
    def new(cls, tenant: str, name: str, collection: str, spare: str, *groups: str) -> "Document":
        """A document of new words."""
        words = {field: new_word() for field in ("external_id", "title", "heading", "text", "secret", "shelf", "uri")}
        return cls(tenant=tenant, name=name, groups=groups, collection=collection, spare=spare, **words)

    @property
    def path(self) -> str:
        """Where it is put, read and deleted."""
        return f"/v1/collections/{self.collection}/documents/{self.external_id}"

    @property
    def body(self) -> dict[str, Any]:
        """The document as it is handed in."""
        return {
            "markdown": f"# {self.heading}\n\nThe {self.heading} of {self.title} is the {self.text} {self.secret}.\n",
            "title": f"Manual of the {self.title}",
            "uri": f"https://example.org/{self.uri}",
            "metadata": {"shelf": self.shelf, "price": 5},
            "groups": list(self.groups),
        }

    @property
    def question(self) -> str:
        """A question that the document answers."""
        return f"What is the {self.heading} of {self.title}?"

    def canaries(self, *, gone: bool = False) -> list[Canary]:
        """Its words; the text of a record is open to more callers than that of a passage."""
        kinds: dict[Kind, tuple[str, ...]] = {
            "passage": ("heading", "text", "secret"),
            "record": ("external_id", "title", "shelf", "uri"),
        }
        return [
            self.canary(getattr(self, field), field, kind, gone=gone)
            for kind, names in kinds.items()
            for field in names
        ]

    def canary(self, word: str, what: str, kind: Kind, *, gone: bool = False) -> Canary:
        """A word that belongs to the document."""
        return Canary(
            word=word,
            what=f"{what} of {self.tenant}/{self.name}",
            kind=kind,
            tenant=self.tenant,
            groups=frozenset(self.groups),
            gone=gone,
            unsaid=what in _UNSAID,
        )


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """What a route can be asked for: ids go into paths by the parameter's name, the document's words into bodies."""

    document: Document
    ids: dict[str, str]

    def ghost(self) -> "Thing":
        """The same shape, and nothing in it exists."""
        document = Document.new(self.document.tenant, "ghost", new_word(), new_word(), *self.document.groups)
        return Thing(document=document, ids={name: _ghostly(name, document) for name in self.ids})

    def words(self) -> list[str]:
        """Everything by which it could be told from another, longest first."""
        fields = msgspec.structs.asdict(self.document)
        own = [value for name, value in fields.items() if name not in {"tenant", "name", "groups"}]
        return sorted({*own, *self.ids.values()}, key=len, reverse=True)


class Recipe(msgspec.Struct, frozen=True):
    """How a reader of the group red makes a thing of its own, and which field of the answer is its id."""

    operation: str
    path: str
    body: Callable[[Document], Any]
    field: str = "id"


class Tenant(msgspec.Struct, frozen=True):
    """One of the two."""

    name: str
    slug: str
    tenant_id: TenantId


class Estate:
    """What was planted, and who may call."""

    def __init__(self, services: Services, service: Service) -> None:
        self.services = services
        self.service = service
        self.canaries = Canaries()
        self.tenants: dict[str, Tenant] = {}
        self.callers: dict[str, Caller] = {}
        self.things: dict[str, Thing] = {}
        self.key_ids: dict[str, UUID] = {}
        self.signing_secrets: dict[str, str] = {}
        self.revoked_at = datetime.now(UTC)

    @property
    def target(self) -> Thing:
        """What the wrong callers are after: alpha's document of the group red."""
        return self.things["alpha/red"]

    @property
    def outsiders(self) -> list[Caller]:
        """Valid keys of the other tenant."""
        return [caller for caller in self.callers.values() if caller.tenant == BETA]

    @property
    def insiders(self) -> list[Caller]:
        """Valid keys of the target's own tenant, those that may read it and those that may not."""
        return [caller for caller in self.callers.values() if caller.tenant == ALPHA]

    async def put(self, document: Document) -> UUID:
        """Hand a document in as its tenant's owner; gives the job."""
        reply = await self.require(
            Ask(method="PUT", path=document.path, body=document.body), f"{document.tenant} owner"
        )
        self.canaries.plant(document.canaries())
        return UUID(reply["job_id"])

    async def ingest(self, documents: Sequence[Document]) -> list[UUID]:
        """Hand documents in, and wait until the worker has brought them into service; gives the jobs."""
        jobs = [(document.tenant, await self.put(document)) for document in documents]
        for tenant, job in jobs:
            await self.ended(tenant, job)
        return [job for _, job in jobs]

    async def ended(self, tenant: str, job: UUID) -> None:
        """Wait until a job has ended, whichever way."""
        owner = self.tenants[tenant].tenant_id
        try:
            async with asyncio.timeout(_INGEST_S):
                while True:
                    async with self.services.database.tenant(owner) as connection:
                        (found,) = await some_jobs(connection, owner, [job])
                    if found.finished_at is not None:
                        return
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise SetupError(f"no worker ended job {job} in {_INGEST_S:.0f} s; is one running?") from error

    async def require(self, ask: Ask, caller: str) -> Any:
        """The answer to a request that has to succeed, for the estate itself."""
        reply: Reply = await self.service.send(ask, self.callers[caller].key)
        if reply.status in {401, 403}:
            raise SetupError(
                f"{self.service.url} refuses a key that was just made ({reply.status} to {ask}): "
                "does it serve the database that this command works on?"
            )
        if reply.failed:
            raise SetupError(f"{ask} as {caller}: {reply.status} {reply.body[:300].decode(errors='replace')}")
        return reply.json()

    async def until_revocation_bites(self) -> None:
        """Wait until the revoked key has to be refused everywhere."""
        since = (datetime.now(UTC) - self.revoked_at).total_seconds()
        await asyncio.sleep(max(0.0, _REVOCATION_S + 1.0 - since))


def _ghostly(name: str, document: Document) -> str:
    """An id of the same shape that belongs to nothing."""
    if name == "slug":
        return slug_of(new_word(), document.tenant)
    return str(getattr(document, name, uuid4()))


def slug_of(run: str, tenant: str) -> str:
    """The slug of a throwaway tenant."""
    return f"verify-isolation-{run}-{tenant}"
