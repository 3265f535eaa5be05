import msgspec
import psycopg
import pytest

from rag.cache.base import CacheUnavailable, NullCache
from rag.cache.redis import RedisCache
from rag.domain import Query
from rag.errors import DatabaseUnavailable, SetupError
from rag.retrieval.cached import CachedRetriever, Entry, cache_key
from rag.services import open_cache, open_encoder, open_services, with_embedded_servers
from rag.settings import Secret, Settings
from rag.store.audit import read_chain
from rag.store.corpus import read_corpus


async def test_an_open_house_answers_to_every_probe(services):
    states = await services.ping()
    assert {"postgres", "cache", "encoder"} <= states.keys()
    assert set(states.values()) == {"ok"}


async def test_what_is_measured_is_what_is_served(services):
    assert isinstance(services.searcher, CachedRetriever)
    assert services.encoder.model == "all-MiniLM-L6-v2"
    assert services.gateway.name == "extractive"


async def test_a_closed_part_says_what_is_wrong(settings):
    async with open_services(settings) as services:
        await services.encoder.close()
        states = await services.ping()
    assert states["postgres"] == states["cache"] == "ok"
    assert states["encoder"] != "ok"


async def test_without_a_cache_the_house_opens_and_searches(settings, house):
    bare = msgspec.structs.replace(settings, redis_url=None)
    async with open_services(bare) as services:
        assert (await services.ping())["cache"] != "ok"
        assert (await services.searcher.search(house.principal, Query(text="x"))).cache == "bypass"


async def test_a_cache_that_is_gone_does_not_keep_the_house_closed(settings, house, tmp_path):
    broken = msgspec.structs.replace(settings, redis_url=Secret(f"unix://{tmp_path}/gone.sock"))
    async with open_services(broken) as services:
        assert (await services.searcher.search(house.principal, Query(text="x"))).cache == "bypass"


async def test_without_a_database_it_says_what_to_set(tmp_path):
    with pytest.raises(SetupError, match="DATABASE_URL"):
        async with open_services(Settings(data_dir=tmp_path)):
            pass


async def test_what_was_opened_is_closed_again(settings):
    async with open_services(settings) as services:
        pass
    with pytest.raises(DatabaseUnavailable):
        await services.database.ping()
    assert services.database.pool.closed


async def test_the_superuser_is_not_served_as(settings, servers):
    """Row-level security would not bind it."""
    name = settings.secret("database_url").split("/")[-1].split("?")[0]
    admin = msgspec.structs.replace(settings, database_url=Secret(servers.admin_url.replace("/postgres?", f"/{name}?")))
    with pytest.raises(SetupError, match="cloister_app"):
        async with open_services(admin):
            pass


async def test_the_cache_is_what_the_settings_name(settings):
    named, unnamed = open_cache(settings), open_cache(msgspec.structs.replace(settings, redis_url=None))
    assert isinstance(named, RedisCache)
    assert isinstance(unnamed, NullCache)
    with pytest.raises(CacheUnavailable):
        await unnamed.ping()
    await named.close()


def test_an_encoder_that_is_not_there_is_said_to_be(settings, tmp_path):
    with pytest.raises(SetupError):
        open_encoder(msgspec.structs.replace(settings, encoder=str(tmp_path / "model")))


def test_beside_embedded_servers_the_urls_are_theirs(tmp_path):
    bare = Settings(data_dir=tmp_path)
    full = with_embedded_servers(bare, app_url="a", owner_url="b", redis_url="c")
    assert [full.secret(n) for n in ("database_url", "migration_database_url", "redis_url")] == ["a", "b", "c"]
    assert with_embedded_servers(bare, app_url="a", owner_url="b", redis_url=None).redis_url is None
    assert bare.embedded
    assert not full.embedded
    assert (bare.approvals, full.approvals) == (None, "off"), "one machine, one operator"
    kept = msgspec.structs.replace(bare, approvals="required")
    assert with_embedded_servers(kept, app_url="a", owner_url="b", redis_url=None).approvals_required


@pytest.mark.parametrize("where", ["hydration", "cache"])
async def test_what_the_second_check_stops_is_in_the_trail(where, services, house, settings, servers, absent_id):
    query = Query(text="lamp in the cellar")
    await house.ingest({"staff": "The staff lamp is in the cellar."}, groups=["staff"])
    if where == "hydration":  # as if a leg had named a chunk that its reader may not see
        name = settings.secret("database_url").split("/")[-1].split("?")[0]
        with psycopg.connect(servers.admin_url.replace("/postgres?", f"/{name}?")) as admin:
            admin.execute("INSERT INTO cloister.acl_sets (tenant_id, groups, digest) SELECT tenant_id, '{}', 'x' "
                          "FROM cloister.acl_sets")  # fmt: skip
            admin.execute("UPDATE cloister.embeddings_minilm_l6_v2 SET acl_id = (SELECT max(acl_id) "
                          "FROM cloister.acl_sets)")  # fmt: skip
    else:
        async with services.database.tenant(house.tenant) as connection:
            corpus = await read_corpus(connection, house.principal)
        result = await services.searcher.search(house.principal, query)
        key = cache_key(house.principal, corpus, query, services.searcher._ranking)
        await services.cache.set(key, msgspec.msgpack.encode(Entry(absent_id, result)), ttl_s=60)
    await services.searcher.search(house.principal, query)
    await services.incidents.flush()
    found = [msgspec.json.decode(entry.event) async for entry in read_chain(services.database, house.tenant)]
    alarms = [event["unmapped"]["where"] for event in found if event["activity_name"] == "isolation.alarm"]
    assert alarms == [where]
