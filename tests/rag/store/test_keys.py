import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from rag.domain import Scope
from rag.errors import Conflict, Forbidden, InvalidInput, NotFound
from rag.keys import digest_key
from rag.store.keys import (
    authenticate,
    authenticate_widget,
    create_key,
    create_operator_key,
    create_signing_secret,
    list_keys,
    list_operator_keys,
    resolve_tenant,
    revoke_key,
    revoke_operator_key,
    rotate_key,
    rotate_operator_key,
)
from rag.tenancy import Operator

PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def whom(database, key: str):
    async with database.control() as control:
        return await authenticate(control, digest_key(key))


async def test_a_key_stands_for_its_tenant_and_what_it_may_do(acme):
    async with acme.connect() as connection:
        key, key_id = await create_key(
            connection, acme.tenant, scopes=[Scope.SEARCH, Scope.INGEST], groups=["staff", "board", "staff"]
        )
    principal = await whom(acme.database, key)
    assert key.startswith("clo_sk_")
    assert (principal.tenant, principal.slug, principal.key_id) == (acme.tenant, "acme", key_id)
    assert (principal.kind, principal.scopes) == ("secret", {"search", "ingest"})
    assert principal.groups == ("board", "staff")


async def test_the_key_itself_is_nowhere_in_the_database(acme, admin_url):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant)
    with psycopg.connect(admin_url) as admin:
        stored = admin.execute("SELECT k::text FROM cloister.api_keys k").fetchall()
    assert key[7:] not in repr(stored)
    assert key[14:30] not in repr(stored)


async def test_a_publishable_key_searches_and_nothing_else(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant, kind="publishable", scopes=[Scope.SEARCH])
        for scopes in ([Scope.ANSWER], [Scope.SEARCH, Scope.INGEST], []):
            with pytest.raises(Forbidden):
                await create_key(connection, acme.tenant, kind="publishable", scopes=scopes)
    principal = await whom(acme.database, key)
    assert (principal.kind, principal.scopes) == ("publishable", {"search"})


async def test_a_revoked_key_stands_for_nobody_and_stays_on_the_list(acme):
    async with acme.connect() as connection:
        key, key_id = await create_key(connection, acme.tenant)
        _, other = await create_key(connection, acme.tenant)
        await revoke_key(connection, acme.tenant, key_id)
        first = {entry.key_id: entry.revoked_at for entry in await list_keys(connection, acme.tenant)}
        await revoke_key(connection, acme.tenant, key_id)
        again = {entry.key_id: entry.revoked_at for entry in await list_keys(connection, acme.tenant)}
    assert first == again
    assert first[key_id] is not None
    assert first[other] is None
    assert await whom(acme.database, key) is None


async def test_an_expired_key_stands_for_nobody(acme):
    async with acme.connect() as connection:
        old, _ = await create_key(connection, acme.tenant, expires_at=PAST)
        young, _ = await create_key(connection, acme.tenant, expires_at=datetime.now(UTC) + timedelta(days=1))
    assert await whom(acme.database, old) is None
    assert await whom(acme.database, young)


async def test_another_tenants_key_is_not_found(acme, bolt):
    async with bolt.connect() as connection:
        key, key_id = await create_key(connection, bolt.tenant)
    async with acme.connect() as connection:
        with pytest.raises(NotFound):
            await revoke_key(connection, acme.tenant, key_id)
        assert await list_keys(connection, acme.tenant) == []
    assert await whom(acme.database, key)


async def test_use_is_noted(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant)
    await whom(acme.database, key)
    async with acme.connect() as connection:
        (entry,) = await list_keys(connection, acme.tenant)
    assert entry.last_used_at is not None


async def test_a_listed_key_shows_no_more_than_its_beginning(acme):
    async with acme.connect() as connection:
        key, _ = await create_key(connection, acme.tenant, name="widget")
        (entry,) = await list_keys(connection, acme.tenant)
    assert entry.name == "widget"
    assert entry.display == key[:13] + "…"


async def test_an_operator_key_belongs_to_no_tenant(acme):
    async with acme.database.control() as control:
        key, key_id = await create_operator_key(control, name="ops")
        (entry,) = await list_operator_keys(control)
    assert (entry.key_id, entry.kind, entry.name, entry.scopes) == (key_id, "operator", "ops", ["manage"])
    assert await whom(acme.database, key) == Operator(key_id)
    async with acme.connect() as connection:
        assert await list_keys(connection, acme.tenant) == []


async def test_operators_keys_and_tenants_keys_are_revoked_by_their_own(acme):
    async with acme.connect() as connection:
        key, key_id = await create_key(connection, acme.tenant)
    async with acme.database.control() as control:
        operator, operator_id = await create_operator_key(control)
        with pytest.raises(NotFound):
            await revoke_operator_key(control, key_id)
    async with acme.connect() as connection:
        with pytest.raises(NotFound):
            await revoke_key(connection, acme.tenant, operator_id)
    assert await whom(acme.database, key)
    assert await whom(acme.database, operator)
    async with acme.database.control() as control:
        await revoke_operator_key(control, operator_id)
    assert await whom(acme.database, operator) is None


async def test_an_unknown_digest_stands_for_nobody(database):
    async with database.control() as control:
        assert await authenticate(control, bytes(32)) is None


# ---------------------------------------------------------------- publishable keys


async def publishable(owner, **more):
    async with owner.connect() as connection:
        return await create_key(connection, owner.tenant, kind="publishable", scopes=[Scope.SEARCH], **more)


async def test_a_publishable_key_is_bound_to_what_it_lists(acme):
    origins = ["https://b.example", "HTTPS://A.example:443", "https://b.example"]
    key, key_id = await publishable(acme, origins=origins, collections=["shop", "help", "shop"], groups=["retail"])
    principal = await whom(acme.database, key)
    assert principal.origins == ("https://a.example", "https://b.example")
    assert (principal.collections, principal.groups) == (("help", "shop"), ("retail",))
    assert (principal.filter, principal.max_hits, principal.user) == (None, None, None)
    async with acme.connect() as connection:
        (entry,) = await list_keys(connection, acme.tenant)
    assert (entry.key_id, entry.origins, entry.collections) == (key_id, list(principal.origins), ["help", "shop"])


async def test_one_that_lists_nothing_searches_everything_and_works_in_no_browser(acme):
    principal = await whom(acme.database, (await publishable(acme))[0])
    assert (principal.origins, principal.collections) == ((), None)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"groups": ["*"]}, "/groups"),
        ({"groups": ["retail", "*"]}, "/groups"),
        ({"origins": ["https://a.example", "null"]}, "/origins/1"),
        ({"origins": ["*"]}, "/origins/0"),
        ({"collections": []}, "/collections"),
    ],
)
async def test_what_a_publishable_key_cannot_be_bound_to_is_pointed_at(acme, wrong, pointer):
    with pytest.raises(InvalidInput) as refusal:
        await publishable(acme, **wrong)
    assert refusal.value.pointer == pointer


async def test_a_secret_key_is_bound_to_no_page_and_no_collection(acme):
    async with acme.connect() as connection:
        for wrong in ({"origins": ["https://a.example"]}, {"collections": ["kb"]}):
            with pytest.raises(InvalidInput):
                await create_key(connection, acme.tenant, **wrong)
        key, _ = await create_key(connection, acme.tenant, groups=["*"])
    assert (await whom(acme.database, key)).reads_all_groups


async def test_the_database_itself_gives_no_public_key_all_groups(acme):
    _, key_id = await publishable(acme)
    with pytest.raises(psycopg.errors.CheckViolation):
        async with acme.connect() as connection:
            await connection.execute("UPDATE api_keys SET groups = '{*}' WHERE key_id = %s", [key_id])


async def test_a_signing_secret_is_had_once_and_then_by_whoever_verifies(acme, bolt):
    _, key_id = await publishable(acme, collections=["kb"])
    async with acme.connect() as connection:
        secret = await create_signing_secret(connection, acme.tenant, key_id)
    async with acme.database.control() as control:
        found = await authenticate_widget(control, key_id)
        assert await authenticate_widget(control, bolt.tenant) is None
    assert found.secret.reveal() == secret
    assert secret not in repr(found)
    assert (found.principal.tenant, found.principal.collections) == (acme.tenant, ("kb",))
    async with acme.connect() as connection:
        assert secret not in repr(await list_keys(connection, acme.tenant))
        await revoke_key(connection, acme.tenant, key_id)
    async with acme.database.control() as control:
        assert await authenticate_widget(control, key_id) is None


async def test_an_expired_key_has_no_tokens(acme):
    _, key_id = await publishable(acme, expires_at=PAST)
    async with acme.connect() as connection:
        await create_signing_secret(connection, acme.tenant, key_id)
    async with acme.database.control() as control:
        assert await authenticate_widget(control, key_id) is None


async def test_a_tenant_is_found_by_its_slug(acme):
    async with acme.database.control() as control:
        assert await resolve_tenant(control, "acme") == acme.tenant
        assert await resolve_tenant(control, "none") is None


# ---------------------------------------------------------------- rotation


async def rotated(owner, key_id, **more):
    async with owner.connect() as connection:
        return await rotate_key(connection, owner.tenant, key_id, **more)


async def test_two_are_valid_at_once_and_the_first_ends(acme):
    old, key_id = await publishable(acme, origins=["https://a.example"], collections=["kb"], groups=["retail"])
    before = datetime.now(UTC)
    done = await rotated(acme, key_id)
    first, second = await whom(acme.database, old), await whom(acme.database, done.key)
    assert (first.key_id, second.key_id) == (key_id, done.made.key_id)
    for name in ("kind", "scopes", "groups", "origins", "collections"):
        assert getattr(first, name) == getattr(second, name)
    assert timedelta(hours=24) <= done.ends_at - before < timedelta(hours=24, minutes=1)
    async with acme.connect() as connection:
        listed = {entry.key_id: entry for entry in await list_keys(connection, acme.tenant)}
    assert listed[key_id].expires_at == done.ends_at
    assert listed[key_id].rotated_at is not None
    assert (listed[done.made.key_id].rotated_from, listed[done.made.key_id].expires_at) == (key_id, None)


async def test_without_an_overlap_the_first_ends_at_once(acme):
    async with acme.connect() as connection:
        old, key_id = await create_key(connection, acme.tenant)
    done = await rotated(acme, key_id, overlap=timedelta(0))
    assert await whom(acme.database, old) is None
    assert await whom(acme.database, done.key)
    assert done.signing_secret is None


async def test_a_successor_lives_as_long_and_the_first_no_longer_than_it_would_have(acme):
    soon = datetime.now(UTC) + timedelta(hours=2)
    async with acme.connect() as connection:
        _, key_id = await create_key(connection, acme.tenant, expires_at=soon)
    done = await rotated(acme, key_id, overlap=timedelta(days=7))
    assert done.ends_at == soon
    assert abs(done.made.expires_at - soon) < timedelta(minutes=1)


async def test_a_life_to_the_end_of_time_has_a_successor(acme):
    latest = datetime.max.replace(tzinfo=UTC)
    async with acme.connect() as connection:
        _, key_id = await create_key(connection, acme.tenant, expires_at=latest)
    assert (await rotated(acme, key_id)).made.expires_at == latest


async def test_what_has_ended_or_has_a_successor_is_not_rotated(acme, bolt, absent_id):
    async with acme.connect() as connection:
        _, twice = await create_key(connection, acme.tenant)
        _, expired = await create_key(connection, acme.tenant, expires_at=PAST)
        _, revoked = await create_key(connection, acme.tenant)
        await revoke_key(connection, acme.tenant, revoked)
    done = await rotated(acme, twice)
    for key_id in (twice, expired, revoked):
        with pytest.raises(Conflict):
            await rotated(acme, key_id)
    for owner, key_id in ((bolt, done.made.key_id), (acme, absent_id)):
        with pytest.raises(NotFound, match="no such key"):
            await rotated(owner, key_id)
    assert (await rotated(acme, done.made.key_id)).made.rotated_from == done.made.key_id


async def test_two_rotations_at_once_make_one_successor(acme):
    async with acme.connect() as connection:
        _, key_id = await create_key(connection, acme.tenant)
    both = await asyncio.gather(*(rotated(acme, key_id) for _ in range(2)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in both) == ["Conflict", "Rotation"]
    async with acme.connect() as connection:
        assert len(await list_keys(connection, acme.tenant)) == 2


async def test_an_operators_key_is_rotated_too(acme, absent_id):
    async with acme.connect() as connection:
        _, of_tenant = await create_key(connection, acme.tenant)
    async with acme.database.control() as control:
        old, key_id = await create_operator_key(control, name="ops")
        done = await rotate_operator_key(control, key_id)
        with pytest.raises(Conflict):
            await rotate_operator_key(control, key_id)
        for wrong in (of_tenant, absent_id):
            with pytest.raises(NotFound):
                await rotate_operator_key(control, wrong)
        listed = {entry.key_id: entry for entry in await list_operator_keys(control)}
    assert await whom(acme.database, old) == Operator(key_id)
    assert await whom(acme.database, done.key) == Operator(done.made.key_id)
    assert (done.made.rotated_from, done.made.name) == (key_id, "ops")
    assert listed[key_id].expires_at == done.ends_at
    async with acme.database.control() as control:
        again = await rotate_operator_key(control, done.made.key_id, overlap=timedelta(0))
    assert await whom(acme.database, done.key) is None
    assert await whom(acme.database, again.key)
