"""Planting an estate: two throwaway tenants, their keys, documents of canaries; gone at the end, however it comes."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import msgspec

from eval.isolation.canaries import Canary, new_word
from eval.isolation.estate import ALPHA, BETA, Document, Estate, Recipe, Tenant, Thing, slug_of
from eval.isolation.keyring import MARK, give_keys, give_void
from eval.isolation.service import Ask, Service, filled
from rag.domain import TenantId
from rag.errors import Conflict
from rag.services import Services
from rag.store import keys as key_store
from rag.store.database import Database
from rag.store.probes import take_turn
from rag.store.tenants import create_tenant, delete_tenant, list_tenants

_SLUG: Final = re.compile(r"verify-isolation-[a-z]{18}-(alpha|beta)")
_LONGEST_RUN_S: Final = 3600.0


@asynccontextmanager
async def planted(services: Services, service: Service, recipes: Mapping[str, Recipe]) -> AsyncIterator[Estate]:
    """An estate for as long as this lasts; raises `Conflict` while another check has the turn.

    The estate of a run that was killed is removed first.
    """
    async with services.database.control(timeout_s=_LONGEST_RUN_S) as turn:
        if not await take_turn(turn):
            raise Conflict("another verify-isolation is under way on this database; wait for it to end")
        await remove_estates(services.database)
        try:
            estate = Estate(services, service)
            await _make_tenants(estate)
            await _plant(estate, recipes)
            yield estate
        finally:
            await remove_estates(services.database)


async def remove_estates(database: Database) -> None:
    """Remove every tenant and operator key that a check of isolation has made, and nothing else."""
    async with database.control() as control:
        left = [found for found in await list_tenants(control) if _SLUG.fullmatch(found.slug) and found.name == MARK]
        for key in await key_store.list_operator_keys(control):
            if key.name == MARK and key.revoked_at is None:
                await key_store.revoke_operator_key(control, key.key_id)
    for tenant in left:
        async with database.control() as control:
            await delete_tenant(control, TenantId(tenant.tenant_id))


async def _make_tenants(estate: Estate) -> None:
    run = new_word()
    for name in (ALPHA, BETA):
        slug = slug_of(run, name)
        async with estate.services.database.control() as control:
            made = await create_tenant(control, slug, name=MARK)
        tenant = Tenant(name, slug, TenantId(made.tenant_id))
        estate.tenants[name] = tenant
        words = {"slug": slug, "id": str(tenant.tenant_id)}
        estate.canaries.plant(
            Canary(word=word, what=f"{what} of {name}", kind="name", tenant=name, unsaid=what == "id")
            for what, word in words.items()
        )
        await give_keys(estate, tenant)
    await give_void(estate)


async def _plant(estate: Estate, recipes: Mapping[str, Recipe]) -> None:
    alphas, betas = await _collections(estate, ALPHA), await _collections(estate, BETA)
    red = Document.new(ALPHA, "red", *alphas, "red")
    documents = [
        red,
        Document.new(ALPHA, "open", *alphas),
        Document.new(ALPHA, "blue", *alphas, "blue"),
        Document.new(BETA, "open", *betas),
        Document.new(BETA, "red", *betas, "red"),
    ]
    jobs = dict(zip((f"{d.tenant}/{d.name}" for d in documents), await estate.ingest(documents), strict=True))
    # A second version, so that the list of versions has a second page; the first one's passage serves no longer.
    renewed = msgspec.structs.replace(red, text=new_word(), secret=new_word())
    (jobs["alpha/red"],) = await estate.ingest([renewed])
    estate.canaries.plant(c for c in red.canaries(gone=True) if c.word in {red.text, red.secret})
    for document in (renewed, *documents[1:]):
        name = f"{document.tenant}/{document.name}"
        estate.things[name] = await _thing(estate, document, jobs[name], recipes)
    await _plant_unreadable(estate, Document.new(ALPHA, "unreadable", *alphas))


async def _collections(estate: Estate, tenant: str) -> tuple[str, str]:
    """A collection for the documents, under watch, and an empty one that is not."""
    used, spare = new_word(), new_word()
    estate.canaries.plant([Canary(word=used, what=f"a collection of {tenant}", kind="name", tenant=tenant)])
    for name in (used, spare):
        await estate.require(Ask(method="POST", path="/v1/collections", body={"name": name}), f"{tenant} owner")
    return used, spare


async def _thing(estate: Estate, document: Document, job: UUID, recipes: Mapping[str, Recipe]) -> Thing:
    tenant = estate.tenants[document.tenant]
    record = await estate.require(Ask(method="GET", path=document.path), f"{tenant.name} owner")
    ids = {
        "slug": tenant.slug,
        "collection": document.collection,
        "external_id": document.external_id,
        "document_id": record["document_id"],
        "chunk_id": await _chunk(estate, document),
        "job_id": str(job),
        "key_id": str(estate.key_ids[f"{tenant.name} publishable"]),
    }
    estate.canaries.plant(document.canary(ids[name], name, "handle") for name in ("document_id", "job_id"))
    thing = Thing(document=document, ids=ids)
    for name, recipe in recipes.items() if document.name == "red" else ():
        ask = Ask(method="POST", path=filled(recipe.path, ids), body=recipe.body(document))
        made = await estate.require(ask, f"{tenant.name} red")
        ids[name] = str(made[recipe.field])
        estate.canaries.plant([document.canary(ids[name], name, "passage")])
    return thing


async def _chunk(estate: Estate, document: Document) -> str:
    """The id of the document's one chunk; it is under watch as its text is."""
    body = {"query": document.text, "mode": "keyword"}
    found = await estate.require(Ask(method="POST", path="/v1/search", body=body), f"{document.tenant} owner")
    chunk = str(found["hits"][0]["chunk_id"])
    estate.canaries.plant([document.canary(chunk, "chunk_id", "passage")])
    return chunk


async def _plant_unreadable(estate: Estate, document: Document) -> None:
    """A job that ends dead: its record names the document, and tells what went wrong."""
    content = b"\x89PNG\r\n\x1a\n" + document.secret.encode() + bytes(range(256)) * 8
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s.bin"\r\n\r\n%s\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    raw = form % (document.title.encode(), content)
    made = await estate.require(Ask(method="PUT", path=document.path, raw=raw, headers=headers), f"{ALPHA} owner")
    estate.canaries.plant([*document.canaries(), document.canary(made["job_id"], "job_id", "handle")])
    await estate.ended(ALPHA, UUID(made["job_id"]))
