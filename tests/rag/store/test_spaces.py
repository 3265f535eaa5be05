import msgspec
import psycopg
import pytest

from rag.audit import CONTROL
from rag.errors import Conflict, InterruptedDocument, NotFound
from rag.store.audit import read_chain
from rag.store.corpus import read_corpus, read_writing
from rag.store.ingestion import bring_into_service
from rag.store.spaces import activate_space, activation, list_spaces

FIRST, SECOND = "minilm_l6_v2", "second_v1"


@pytest.fixture
def second(owner_url):
    """Another space; gives what copies a tenant's vectors into it, all or those of one document."""
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("SELECT cloister.create_embedding_space(%s, 'second', 'r1', 384, '1')", [SECOND])

    def build(tenant, *, document=None):
        with psycopg.connect(owner_url, autocommit=True) as owner:
            owner.execute(
                f"INSERT INTO cloister.embeddings_{SECOND} SELECT * FROM cloister.embeddings_{FIRST} "
                "WHERE tenant_id = %(tenant)s AND (%(document)s::uuid IS NULL OR document_id = %(document)s)",
                {"tenant": tenant, "document": document},
            )

    return build


async def activate(database, space, tenant=None):
    async with database.control() as connection:
        return await activate_space(connection, space, tenant=tenant)


async def corpus_of(owner):
    async with owner.connect() as connection:
        return await read_corpus(connection, owner.principal)


async def test_spaces_are_listed_with_their_tenants_and_coverage(acme, bolt, second):
    first = await acme.serve("a", "One.\n\nTwo.")
    await bolt.serve("b", "Three.")
    second(acme.tenant, document=first.document_id)
    async with acme.database.control() as connection:
        old, new = await list_spaces(connection)
    assert (old.space, old.model, old.dimensions, old.tenants) == (FIRST, "all-MiniLM-L6-v2", 384, ["acme", "bolt"])
    assert (old.chunks, old.embedded) == (3, 3)
    assert (new.space, new.tenants, new.chunks, new.embedded) == (SECOND, [], 3, 2)


async def test_a_tenant_is_moved_and_its_cached_results_are_outdated(acme, bolt, second):
    await acme.serve("a", "One.")
    second(acme.tenant)
    before, others = await corpus_of(acme), await corpus_of(bolt)
    assert await activate(acme.database, SECOND, acme.tenant) == ["acme"]
    after = await corpus_of(acme)
    assert (after.space, after.model, after.corpus_version) == (SECOND, "second", before.corpus_version + 1)
    assert await corpus_of(bolt) == others
    assert await activate(acme.database, SECOND, acme.tenant) == [], "it is there already"
    assert (await corpus_of(acme)).corpus_version == after.corpus_version
    assert await activate(acme.database, FIRST, acme.tenant) == ["acme"], "and back"


async def test_one_chunk_without_its_vector_keeps_everybody_where_they_are(acme, bolt, second):
    first = await acme.serve("a", "One.")
    await acme.serve("b", "Two.")
    await bolt.serve("c", "Three.")
    second(acme.tenant, document=first.document_id)
    with pytest.raises(Conflict, match="1 chunks of 'acme' have no vector in 'second_v1', and 1 more"):
        await activate(acme.database, SECOND)
    second(bolt.tenant)
    with pytest.raises(Conflict, match="1 chunks of 'acme'"):
        await activate(acme.database, SECOND)
    assert [(await corpus_of(owner)).space for owner in (acme, bolt)] == [FIRST, FIRST]
    assert await activate(acme.database, SECOND, bolt.tenant) == ["bolt"]


async def test_all_are_moved_in_one_transaction_and_it_is_recorded(acme, bolt, second):
    assert await activate(acme.database, SECOND) == ["acme", "bolt"]
    last = [msgspec.json.decode(found.event) async for found in read_chain(acme.database, CONTROL)][-1]
    assert (last["activity_name"], last["resources"][0]["uid"]) == ("space.activate", SECOND)
    assert last["unmapped"] == {"tenants": 2}


async def test_a_write_that_was_embedded_for_the_old_space_is_not_kept(acme, second):
    from tests.rag.conftest import new_version

    run = await acme.claim(await acme.put("a", "One."))
    async with acme.connect() as connection:
        writing = await read_writing(connection, acme.tenant)
    await activate(acme.database, SECOND, acme.tenant)
    with pytest.raises(InterruptedDocument, match="another embedding space"):
        async with acme.connect() as connection:
            await bring_into_service(connection, acme.tenant, run, new_version("One.", acme.embed), writing)
    assert (await corpus_of(acme)).chunk_count == 0


async def test_a_space_that_there_is_not(acme):
    with pytest.raises(NotFound):
        await activate(acme.database, "none", acme.tenant)


async def test_the_act_is_bound_to_the_space_and_the_tenant(acme, bolt):
    async with acme.database.control() as connection:
        acts = [await activation(connection, FIRST, tenant) for tenant in (None, acme.tenant, bolt.tenant)]
    assert len({act.digest for act in acts}) == 3
