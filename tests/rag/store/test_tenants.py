from uuid import UUID

import psycopg
import pytest

from rag.domain import TenantId
from rag.errors import Conflict, InvalidInput, NotFound
from rag.store.corpus import read_corpus
from rag.store.keys import authenticate, create_key
from rag.store.tenants import create_tenant, delete_tenant, list_tenants, tenant_by_slug


async def test_a_tenant_begins_with_an_empty_corpus(database, as_reader):
    async with database.control() as control:
        tenant = await create_tenant(control, "acme", name="Acme Ltd")
    assert (tenant.slug, tenant.name, tenant.documents, tenant.chunks) == ("acme", "Acme Ltd", 0, 0)
    async with database.tenant(TenantId(tenant.tenant_id)) as connection:
        corpus = await read_corpus(connection, as_reader(TenantId(tenant.tenant_id), "acme"))
    assert (corpus.chunk_count, corpus.collections, corpus.acl_ids) == (0, [], [])


async def test_without_a_name_the_slug_is_the_name(database):
    async with database.control() as control:
        assert (await create_tenant(control, "acme")).name == "acme"


async def test_a_slug_is_taken_once(database):
    async with database.control() as control:
        await create_tenant(control, "acme")
        with pytest.raises(Conflict, match="acme"):
            await create_tenant(control, "acme")
        assert len(await list_tenants(control)) == 1


@pytest.mark.parametrize("slug", ["", "-acme", "Acme", "a b", "a_b", "ä", "a" * 64, "acme\n"])
async def test_other_slugs_are_refused(slug, database):
    async with database.control() as control:
        with pytest.raises(InvalidInput) as refusal:
            await create_tenant(control, slug)
    assert refusal.value.pointer == "/slug"


async def test_tenants_are_listed_with_what_they_have(acme, bolt):
    await acme.serve("one", "first\n\nsecond")
    await acme.serve("two", "third")
    await acme.put("three", "not yet in service")
    async with acme.database.control() as control:
        listed = await list_tenants(control)
        one = await tenant_by_slug(control, "acme")
    assert [(t.slug, t.documents, t.chunks) for t in listed] == [("acme", 2, 3), ("bolt", 0, 0)]
    assert one == listed[0]


async def test_an_unknown_tenant_is_not_found(database, absent_id):
    async with database.control() as control:
        with pytest.raises(NotFound):
            await tenant_by_slug(control, "acme")
        with pytest.raises(NotFound):
            await delete_tenant(control, TenantId(absent_id))


async def test_deleting_a_tenant_leaves_nothing_but_its_audit_trail_and_all_of_the_others(acme, bolt, admin_url):
    for owner in (acme, bolt):
        await owner.serve_all({"one": "brake lever", "two": "wheel"}, groups=["staff"])
        await owner.put("three", "queued")
        async with owner.connect() as connection:
            await create_key(connection, owner.tenant)
    before = rows_of(admin_url, bolt.tenant)

    async with acme.database.control() as control:
        await delete_tenant(control, acme.tenant)

    left = rows_of(admin_url, acme.tenant)
    assert left.pop("audit_chains") == 1
    assert left.pop("audit_events") > 2
    assert set(left.values()) == {0}
    assert rows_of(admin_url, bolt.tenant) == before
    assert before["chunks"] == 2


async def test_a_deleted_tenants_key_opens_nothing(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant)
    async with acme.database.control() as control:
        await delete_tenant(control, acme.tenant)
        assert await authenticate(control, digest(key)) is None


def digest(key: str) -> bytes:
    from rag.keys import digest_key

    found = digest_key(key)
    assert found
    return found


def rows_of(url: str, tenant: UUID) -> dict[str, int]:
    """How many rows of a tenant each table has, as the superuser counts them."""
    with psycopg.connect(url) as admin:
        tables = admin.execute(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'cloister' AND column_name = 'tenant_id'"
        ).fetchall()
        return {
            name: admin.execute(f"SELECT count(*) FROM cloister.{name} WHERE tenant_id = %s", [tenant]).fetchone()[0]
            for (name,) in tables
        }
