"""The sample content of `up --demo`: a help centre and a shop, two tenants that know nothing of each other."""

import asyncio
import os
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from ingest.cli.load import run_load
from ingest.cli.session import say
from ingest.load import Load
from ingest.source import source_files
from rag.domain import Scope, TenantId
from rag.errors import Conflict
from rag.services import Services, open_services
from rag.settings import Settings
from rag.store.collections import create_collection
from rag.store.corpus import read_writing, refresh_statistics
from rag.store.ingestion import Submission, submit
from rag.store.keys import create_key
from rag.store.tenants import create_tenant, tenant_by_slug

_DEMO: Final = Path(str(files("ingest"))) / "demo"
_SLUGS: Final = {"lumen": "Lumen Bikes, a help centre", "harbor": "Harbor Home, a shop"}
_QUESTION: Final = "How many days do I have to return a bike?"


def seed(settings: Settings, url: str) -> str:
    """Load the sample content unless it is there, and say how to ask it something."""
    return asyncio.run(_seed(settings, url))


async def _seed(settings: Settings, url: str) -> str:
    kept = settings.data_dir / "demo-keys.json"
    async with open_services(settings) as services:
        keys = _read(kept)
        for slug, name in _SLUGS.items():
            tenant, key = await _tenant(services, slug, name, keys.get(slug))
            keys[slug] = key
            _keep(kept, keys)
            say(f"loading the sample content of '{slug}'")
            await _load(services, slug, tenant)
    return _banner(url, keys, kept)


async def _tenant(services: Services, slug: str, name: str, key: str | None) -> tuple[TenantId, str]:
    async with services.database.control() as control:
        try:
            made = await create_tenant(control, slug, name=name)
        except Conflict:
            made = await tenant_by_slug(control, slug)
    tenant = TenantId(made.tenant_id)
    if key is None:
        async with services.database.tenant(tenant) as connection:
            key, _ = await create_key(connection, tenant, scopes=list(Scope), name="demo")
    return tenant, key


async def _load(services: Services, slug: str, tenant: TenantId) -> None:
    for folder in _folders(slug):
        await run_load(Load(services, tenant, folder.name), list(source_files([folder])))
    if products := _catalogue(slug):
        await _load_products(services, tenant, products)
    async with services.database.tenant(tenant, timeout_s=60) as connection:
        await refresh_statistics(connection, tenant)


async def _load_products(services: Services, tenant: TenantId, products: list[Submission]) -> None:
    async with services.database.tenant(tenant, timeout_s=60) as connection:
        with suppress(Conflict):
            await create_collection(connection, tenant, "products", facet_fields=["brand", "category", "color"])
        version = (await read_writing(connection, tenant)).chunker_version
        receipts = [
            await submit(
                connection,
                services.delivery,
                tenant,
                "products",
                product,
                chunker_version=version,
                backlog=number,
            )
            for number, product in enumerate(products)
        ]
    await run_load(Load(services, tenant, "products", receipts=receipts), [])


def _folders(slug: str) -> list[Path]:
    return sorted(folder for folder in (_DEMO / slug).iterdir() if folder.is_dir())


def _catalogue(slug: str) -> list[Submission]:
    path = _DEMO / slug / "catalogue.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [_product(msgspec.json.decode(line)) for line in lines]


def _product(item: dict[str, Any]) -> Submission:
    return Submission(
        external_id=item["external_id"],
        body=item["text"].encode(),
        media_type="text/plain",
        title=item["title"],
        uri=item["uri"],
        metadata=item["metadata"],
    )


def _read(path: Path) -> dict[str, str]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.is_file() else {}


def _keep(path: Path, keys: dict[str, str]) -> None:
    # Sample keys to sample content, kept so that the next `up --demo` can print them again.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(keys))


def _banner(url: str, keys: dict[str, str], kept: Path) -> str:
    return f"""
Cloister answers at {url}   (API reference: {url}/schema)

  lumen    a help centre, 30 articles    {keys["lumen"]}
  harbor   a shop, 200 products          {keys["harbor"]}
  (keys to sample content; they are kept in {kept})

Ask it something:

  curl -s {url}/v1/answers -H "Authorization: Bearer {keys["lumen"]}" \\
       -H "Content-Type: application/json" -d '{{"question": "{_QUESTION}"}}' | python3 -m json.tool

Ask the other tenant the same, with its own key: it knows nothing of bikes, and refuses.
"""
