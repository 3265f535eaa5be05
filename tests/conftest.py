"""Real servers for every test: one PostgreSQL and one Valkey a session, one fresh copy of the schema a test."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import hypothesis
import psycopg
import pytest
import structlog

from ingest.worker import work
from rag.domain import Scope, TenantId
from rag.embedded import EmbeddedServers, temporary_servers
from rag.services import Services, open_services
from rag.settings import Secret, Settings
from rag.store.collections import create_collection
from rag.store.corpus import read_writing, refresh_statistics
from rag.store.ingestion import Receipt, Submission, submit
from rag.store.keys import create_key, create_operator_key
from rag.store.migrate import migrate
from rag.store.tenants import create_tenant
from rag.tenancy import Principal

hypothesis.settings.register_profile("untimed", deadline=None)  # no test asserts a wall-clock time
hypothesis.settings.load_profile("untimed")

_NUMBER = count()


def in_database(url: str, name: str) -> str:
    """The same server and role, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(autouse=True)
def logging_as_it_starts() -> None:
    """A command that was run in an earlier test may have set the level."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the encoder's graph; the servers have a folder of their own."""
    return tmp_path_factory.mktemp("cloister")


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    with temporary_servers() as running:
        yield running


@pytest.fixture(scope="session")
def template(servers: EmbeddedServers) -> str:
    """A migrated database that each test's is a copy of."""
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE cloister_template TEMPLATE cloister OWNER cloister_owner")
    migrate(in_database(servers.owner_url, "cloister_template"))
    return "cloister_template"


@pytest.fixture
def settings(servers: EmbeddedServers, template: str, data_dir: Path) -> Iterator[Settings]:
    """The settings of a process on a migrated, empty database of its own."""
    name = f"test_{next(_NUMBER)}"
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER cloister_owner")
    yield Settings(
        data_dir=data_dir,
        database_url=Secret(in_database(servers.app_url, name)),
        migration_database_url=Secret(in_database(servers.owner_url, name)),
        redis_url=Secret(servers.redis_url or ""),
        pool_size=4,
        cache_timeout_s=10.0,  # a machine may be busy; what waits for how long has tests of its own
        limit_invalid_keys=1_000_000,  # every test comes from one address to one Valkey
        approvals="off",  # one operator, as on one machine; what requires them says so
    )
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings) as opened:
        yield opened


@dataclass(frozen=True)
class House:
    """A tenant with a collection `kb`, a key for each kind of caller, and the means to put documents in."""

    services: Services
    tenant: TenantId
    slug: str
    principal: Principal
    key: str
    search_key: str
    publishable_key: str

    async def put(self, external_id: str, text: str, *, collection: str = "kb", **more: object) -> Receipt:
        """Queue a Markdown document."""
        submission = Submission(
            external_id=external_id,
            body=text.encode(),
            media_type="text/markdown",
            **more,  # type: ignore[arg-type]
        )
        async with self.services.database.tenant(self.tenant) as connection:
            version = (await read_writing(connection, self.tenant)).chunker_version
            return await submit(
                connection, self.services.delivery, self.tenant, collection, submission, chunker_version=version
            )

    async def ingest(self, documents: dict[str, str], **more: object) -> list[Receipt]:
        """Put documents in and bring them into service, with fresh statistics."""
        receipts = [await self.put(external_id, text, **more) for external_id, text in documents.items()]
        await drain(self.services)
        async with self.services.database.tenant(self.tenant) as connection:
            await refresh_statistics(connection, self.tenant)
        return receipts


async def drain(services: Services) -> None:
    """Work until the queue is empty."""
    await work(services, until_idle=True)


async def make_house(services: Services, slug: str, *, groups: tuple[str, ...] = ()) -> House:
    async with services.database.control() as control:
        tenant = TenantId((await create_tenant(control, slug)).tenant_id)
    async with services.database.tenant(tenant) as connection:
        await create_collection(connection, tenant, "kb")
        key, key_id = await create_key(connection, tenant, scopes=list(Scope), groups=groups)
        search_key, _ = await create_key(connection, tenant, scopes=[Scope.SEARCH], groups=groups)
        publishable_key, _ = await create_key(connection, tenant, kind="publishable", scopes=[Scope.SEARCH])
    principal = Principal(
        tenant=tenant, slug=slug, key_id=key_id, kind="secret", scopes=frozenset(Scope), groups=groups
    )
    return House(services, tenant, slug, principal, key, search_key, publishable_key)


@pytest.fixture
async def house(services: Services) -> House:
    return await make_house(services, "acme")


@pytest.fixture
async def other(services: Services) -> House:
    return await make_house(services, "bolt")


@pytest.fixture
async def operator_key(services: Services) -> str:
    async with services.database.control() as control:
        key, _ = await create_operator_key(control)
    return key


@pytest.fixture
def absent_id() -> UUID:
    return UUID("00000000-0000-4000-8000-000000000000")
