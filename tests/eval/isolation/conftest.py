"""One estate a module: an application in the tests' own process, a worker beside it, the canaries planted once."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from eval.isolation.estate import Estate
from eval.isolation.judge import Judge
from eval.isolation.ledger import Ledger, Report
from eval.isolation.planting import planted
from eval.isolation.service import Service
from eval.isolation.verifier import recipes_for, try_doors
from ingest.cli.load import worker_at_hand
from rag.app import create_app
from rag.embedded import EmbeddedServers
from rag.services import Services, open_services
from rag.settings import Secret, Settings
from rag.store.corpus import touch_corpus
from tests.conftest import in_database

URL = "http://cloister.test"


@pytest.fixture(scope="module")
def shared_settings(servers: EmbeddedServers, template: str, data_dir: Path, request) -> Iterator[Settings]:
    """A migrated database that lives as long as the module."""
    name = f"isolation_{request.module.__name__.rpartition('.')[2]}"
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER cloister_owner")
    yield Settings(
        data_dir=data_dir,
        database_url=Secret(in_database(servers.app_url, name)),
        migration_database_url=Secret(in_database(servers.owner_url, name)),
        redis_url=Secret(servers.redis_url or ""),
    )
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(shared_settings: Settings) -> AsyncIterator[Services]:
    """The services, with a worker."""
    async with open_services(shared_settings) as services, worker_at_hand(services):
        yield services


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def estate(opened: Services) -> AsyncIterator[Estate]:
    """The two tenants, planted."""
    async with client_of(opened) as client:
        service = Service(client)
        async with planted(opened, service, recipes_for(await service.operations())) as found:
            yield found


@pytest.fixture
def check(estate: Estate) -> Callable:
    """Try these doors, all when none are named, on an application as the test has changed it."""

    async def run(*doors: str) -> Report:
        async with client_of(estate.services) as client:
            estate.service = Service(client)
            await _outdate_the_cache(estate)
            ledger = Ledger()
            await try_doors(Judge(estate, ledger), await estate.service.operations(), doors=doors)
            return ledger.report(URL, 0.0)

    return run


@pytest.fixture
def as_owner(shared_settings: Settings) -> Iterator[psycopg.Connection]:
    """The database as the role that owns the tables."""
    url = shared_settings.secret("migration_database_url")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def without_policies(as_owner: psycopg.Connection) -> Callable:
    """Row-level security off, for as long as it lasts, on these tables."""

    @contextmanager
    def off(*tables: str) -> Iterator[None]:
        for table in tables:
            as_owner.execute(_alter("ALTER TABLE {} DISABLE ROW LEVEL SECURITY", table))
        try:
            yield
        finally:
            for table in tables:
                as_owner.execute(_alter("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", table))

    return off


async def _outdate_the_cache(estate: Estate) -> None:
    """What an earlier test has asked for is asked anew."""
    for tenant in estate.tenants.values():
        async with estate.services.database.tenant(tenant.tenant_id) as connection:
            await touch_corpus(connection, tenant.tenant_id, chunks=0)


def client_of(services: Services) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(services=services)), base_url=URL)


def _alter(statement: str, table: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier("cloister", table))
