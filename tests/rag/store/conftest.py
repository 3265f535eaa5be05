"""A database that a whole module reads and no test changes, with two tenants in it that have the same kind of data."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
import pytest_asyncio
from procrastinate import App
from psycopg import sql

from rag.domain import Answer, Citation, JobError, Pin, TenantId, Usage
from rag.embedded import EmbeddedServers
from rag.settings import Secret, Settings
from rag.store.answers import keep_answer
from rag.store.collections import CollectionChange, create_collection, update_collection
from rag.store.corpus import Corpus, read_corpus, refresh_statistics
from rag.store.database import Connection, Database
from rag.store.delivery import delivery_app
from rag.store.erasure import begin
from rag.store.idempotency import Attempt, Reply, claim, finish
from rag.store.ingestion import fail
from rag.store.keys import create_key
from rag.store.limits import change_limits
from rag.store.partitions import attach_partition, build_partition
from rag.store.pins import replace_pins
from rag.store.retention import change_retention
from rag.store.statements import statement
from rag.store.vocabulary import learn_words

_NUMBER = count()

Sower = Callable[[Database, App], Awaitable[object]]


class Seed(NamedTuple):
    """What a tenant has, by the names of the statements' parameters."""

    tenant: UUID
    canary: str
    word: str  # stands in its documents and nowhere else; may be asked for
    collection: int
    acl: int
    document: UUID  # serves version 2
    bare_document: UUID
    bare_chunk: UUID  # has no lexemes and no vectors yet
    chunks: list[UUID]
    hashes: list[bytes]
    queued: UUID
    running: UUID
    lease: UUID
    dead: UUID
    succeeded: UUID
    answer: UUID
    key: UUID
    caller: bytes  # was answered under the key that is its canary, and long ago under another
    request_lease: UUID
    erasure: UUID

    @property
    def ids(self) -> set[str]:
        """Every id of it, as text."""
        own = {value for value in self if isinstance(value, UUID)}
        return {str(value) for value in own | set(self.chunks)}


def _in_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="module")
def shared_settings(servers: EmbeddedServers, template: str, data_dir: Path) -> Iterator[Settings]:
    """A migrated database that lives as long as the module."""
    name = f"shared_{next(_NUMBER)}"
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER cloister_owner")
    yield Settings(
        data_dir=data_dir,
        database_url=Secret(_in_database(servers.app_url, name)),
        migration_database_url=Secret(_in_database(servers.owner_url, name)),
        pool_size=1,
    )
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def sow(shared_settings: Settings) -> Callable[[Sower], object]:
    """Fill the module's database by a coroutine that is given a pool and a queue; gives back what it returns."""

    async def run(seed: Sower) -> object:
        url = shared_settings.secret("database_url")
        database = await Database.open(url, size=2)
        try:
            async with delivery_app(url, size=1).open_async() as app:
                return await seed(database, app)
        finally:
            await database.close()

    return lambda seed: asyncio.run(run(seed))


@pytest.fixture
def owner_url(settings: Settings) -> str:
    """The test's own database, as the role that owns the tables."""
    return settings.secret("migration_database_url")


@pytest.fixture
def admin_url(settings: Settings, servers: EmbeddedServers) -> str:
    """The test's own database, as the superuser."""
    return _in_database(servers.admin_url, urlsplit(settings.secret("database_url")).path[1:])


@pytest.fixture(scope="module")
def tenants(sow, owners) -> tuple[Seed, Seed]:
    """Us and them, with the same kind of data."""

    async def both(database: Database, delivery) -> tuple[Seed, Seed]:
        ours = await _seed(owners, database, delivery, "first", "axolotl")
        theirs = await _seed(owners, database, delivery, "second", "quokka")
        for seed in (ours, theirs):
            async with database.tenant(TenantId(seed.tenant)) as connection:
                await build_partition(connection, TenantId(seed.tenant), "minilm_l6_v2")
                assert await attach_partition(connection, TenantId(seed.tenant), "minilm_l6_v2") == "attached"
        return ours, theirs

    return sow(both)


@pytest.fixture
def us(tenants: tuple[Seed, Seed]) -> Seed:
    return tenants[0]


@pytest.fixture
def them(tenants: tuple[Seed, Seed]) -> Seed:
    return tenants[1]


@pytest.fixture
def ghost() -> Seed:
    return _ghost()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_database(tenants: tuple[Seed, Seed], shared_settings) -> AsyncIterator[Database]:
    opened = await Database.open(shared_settings.secret("database_url"), size=1)
    yield opened
    await opened.close()


@pytest.fixture
async def untouched(shared_settings) -> AsyncIterator[Database]:
    """One connection, on which no tenant was ever named."""
    opened = await Database.open(shared_settings.secret("database_url"), size=1)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def control_statements() -> frozenset[str]:
    """The statements that belong to no tenant: every other one is tried beside a second tenant."""
    return frozenset(
        "approvals.decide approvals.get approvals.list approvals.purge approvals.request approvals.use "
        "audit.heads audit.known_keys audit.page "
        "spaces.activate spaces.known spaces.usage "
        "delivery.workers erasure.clear_samples erasure.close erasure.enter erasure.find erasure.tables "
        "ingest.totals ingest.undelivered keys.authenticate keys.authenticate_widget "
        "keys.create_operator keys.list_operators keys.origin_listed keys.resolve_tenant keys.revoke_operator "
        "retention.claim "
        "probes.definers probes.tables probes.turn "
        "keys.rotate_operator partitions.hold partitions.misplaced partitions.totals "
        "schema.row_security schema.version tenants.by_slug tenants.create tenants.delete "
        "tenants.list".split()
    )


async def _seed(owners, database: Database, delivery, slug: str, canary: str) -> Seed:
    owner = await owners(database, delivery, slug)
    tenant = owner.tenant
    text = f"The {canary} brake lever stops the wheel.\n\nIts {canary} cable is an {canary[::-1]}."
    private = {"groups": [f"{canary}-staff"], "metadata": {"brand": canary, "price": 5}, "title": f"{canary} manual"}
    await owner.serve("doc", f"An older {canary} text.", title=canary, uri=f"https://{canary}.example")
    served = await owner.serve("doc", text, metadata={"brand": canary, "price": 5}, title=canary, uri=canary)
    await owner.serve("private", f"Only staff know the {canary} brake.", **private)
    async with owner.connect() as connection:
        await refresh_statistics(connection, tenant)
        await learn_words(connection, tenant, [f"un{canary}"], "english")  # of a document that is gone
        await replace_pins(connection, tenant, "kb", [Pin("brake", ["doc", f"{canary}-gone"])])
        await update_collection(
            connection, tenant, "kb", CollectionChange(facet_fields=["brand"], synonyms=[["brake", canary]])
        )
    bare = await owner.serve("bare", f"Nothing about the {canary} wheels.", metadata={"brand": canary})
    running = await owner.put("running", f"{canary} under way")
    dead = await owner.put("dead", f"{canary} that will not parse", **private)
    queued = await owner.put("bare", f"{canary} in the queue")
    async with owner.connect() as connection:
        await create_collection(connection, tenant, f"{canary}-den")
    attempt, lost = await owner.claim(running), await owner.claim(dead)
    async with owner.connect() as connection:
        await fail(connection, tenant, lost, JobError("unreadable_document", canary, "parsing", canary), state="dead")
        _, key = await create_key(connection, tenant, name=canary, groups=[canary])
        corpus = await read_corpus(connection, owner.principal)
        answer = _answer(canary, served.document_id)
        await keep_answer(
            connection,
            tenant,
            answer,
            key=key,
            question=canary,
            corpus_version=1,
            space="minilm_l6_v2",
            passages=[{"text": canary}],
            user=f"{canary}-person",
        )
        caller = os.urandom(32)
        request_lease = await _answered_request(connection, tenant, caller, canary, answer)
        await change_limits(connection, tenant, {"key_units": len(canary)})
        unused = {"tenant": tenant, "groups": [f"{canary}-gone"], "digest": os.urandom(32)}
        await connection.execute(statement("documents.intern_acl"), unused)
        await change_retention(connection, tenant, {"answers_days": 7})
        erasure = await begin(connection, tenant, "user", {"user": canary}, step="writes")
        bare_chunk = await _bare_chunk(connection, tenant, bare.document_id, corpus)
        rows = await (await connection.execute("SELECT chunk_id, content_sha256 FROM chunks")).fetchall()
    return Seed(
        tenant=tenant,
        canary=canary,
        word=canary[::-1],
        collection=corpus.collections[0].collection_id,
        acl=corpus.acl_ids[0],
        document=served.document_id,
        bare_document=bare.document_id,
        bare_chunk=bare_chunk,
        chunks=[row["chunk_id"] for row in rows],
        hashes=[row["content_sha256"] for row in rows],
        queued=queued.job_id,
        running=running.job_id,
        lease=attempt.lease,
        dead=dead.job_id,
        succeeded=served.job_id,
        answer=answer.id,
        key=key,
        caller=caller,
        request_lease=request_lease,
        erasure=erasure,
    )


async def _answered_request(connection, tenant: TenantId, caller: bytes, key: str, answer: Answer) -> UUID:
    attempt = Attempt(tenant=tenant, caller=caller, key=key, fingerprint=bytes(32))
    lease = await claim(connection, attempt, None)
    body = msgspec.json.encode([key, answer])
    await finish(connection, attempt, lease, Reply(status=200, body=body, answer=answer.id))
    values = {"tenant": tenant, "caller": caller, "key": f"{key} of old", "fingerprint": bytes(32), "lease": uuid4()}
    await connection.execute(statement("idempotency.claim"), {**values, "lease_s": -60, "kept_s": -60})
    return lease


def _answer(canary: str, document: UUID) -> Answer:
    return Answer(
        id=uuid4(),
        status="answered",
        text=canary,
        sentences=[],
        citations=[_citation(canary, document)],
        refusal=None,
        confidence=1.0,
        gateway="extractive",
        model=None,
        usage=Usage(),
        took_ms=1.0,
        request_id="",
    )


def _citation(canary: str, document: UUID) -> Citation:
    return Citation(
        number=1,
        chunk_id=uuid4(),
        document_id=document,
        document_version=2,
        title=canary,
        uri=None,
        heading_path=[],
        page=None,
        quote=canary,
        start=0,
        end=len(canary),
    )


async def _bare_chunk(connection: Connection, tenant: TenantId, document: UUID, corpus: Corpus) -> UUID:
    seed = {"tenant": tenant, "document": document, "collection": corpus.collections[0].collection_id}
    values = {
        **seed,
        "chunk": uuid4(),
        "version": 1,
        "ordinal": 500,
        "acl": corpus.acl_ids[0],
        "text": "bare",
        "heading_path": [],
        "context": "",
        "page": None,
        "start": 0,
        "end": 4,
        "tokens": 1,
        "pieces": 1,
        "sha256": os.urandom(32),
    }
    await connection.execute(statement("chunks.insert"), values)
    return values["chunk"]


def _ghost() -> Seed:
    """The ids of a tenant that never was."""
    return Seed(
        tenant=uuid4(),
        canary="ghost",
        word="tsohg",
        collection=999_999,
        acl=999_999,
        document=uuid4(),
        bare_document=uuid4(),
        bare_chunk=uuid4(),
        chunks=[uuid4()],
        hashes=[os.urandom(32)],
        queued=uuid4(),
        running=uuid4(),
        lease=uuid4(),
        dead=uuid4(),
        succeeded=uuid4(),
        answer=uuid4(),
        key=uuid4(),
        caller=os.urandom(32),
        request_lease=uuid4(),
        erasure=uuid4(),
    )


@pytest.fixture
def new_database(servers: EmbeddedServers) -> Iterator[Callable[..., tuple[str, str]]]:
    """Make an unmigrated database; gives its URLs as the owner role and as the superuser."""
    made: list[str] = []

    def make(*, extensions: bool = True, owner: str = "cloister_owner") -> tuple[str, str]:
        name = f"unmigrated_{next(_NUMBER)}"
        template = "cloister" if extensions else "template0"
        with psycopg.connect(servers.admin_url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")
        made.append(name)
        return _in_database(servers.owner_url, name), _in_database(servers.admin_url, name)

    yield make
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        for name in made:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def undone(database: Database, tenant: UUID) -> AsyncIterator[Connection]:
    """A tenant's connection whose writes are taken back."""
    async with database.tenant(TenantId(tenant)) as connection:
        yield connection
        raise psycopg.Rollback


async def everything(connection: Connection, tenant: UUID) -> dict[str, str]:
    """A digest of each of a tenant's tables, seen from inside the transaction that may have changed them."""
    await connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
    found = await connection.execute(
        "SELECT c.table_name AS name FROM information_schema.columns c JOIN information_schema.role_table_grants g "
        "USING (table_schema, table_name) WHERE c.table_schema = 'cloister' AND c.column_name = 'tenant_id' "
        "AND g.grantee = 'cloister_app' AND g.privilege_type = 'SELECT' ORDER BY 1"
    )
    names = [row["name"] for row in await found.fetchall()]
    assert len(names) >= 15
    one = sql.SQL("SELECT {} AS name, md5(string_agg(t::text, ';' ORDER BY t::text)) AS digest FROM cloister.{} t")
    text = sql.SQL(" UNION ALL ").join(one.format(sql.Literal(name), sql.Identifier(name)) for name in names)
    digests = {row["name"]: row["digest"] for row in await (await connection.execute(text)).fetchall()}
    assert all(digests.values()), "each table of the other tenant has rows, or there would be nothing to protect"
    return digests
