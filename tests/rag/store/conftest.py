"""A database that a whole module reads and none of its tests changes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from procrastinate import App

from rag.embedded import EmbeddedServers
from rag.settings import Secret, Settings
from rag.store.database import Database
from rag.store.delivery import delivery_app

_NUMBER = count()

Seed = Callable[[Database, App], Awaitable[object]]


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
def sow(shared_settings: Settings) -> Callable[[Seed], object]:
    """Fill the module's database by a coroutine that is given a pool and a queue; gives back what it returns."""

    async def run(seed: Seed) -> object:
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
