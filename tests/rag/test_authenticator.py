from datetime import UTC, datetime, timedelta

import pytest

from rag import authenticator as module
from rag.authenticator import Authenticator
from rag.errors import Unauthenticated
from rag.keys import generate_key
from rag.store.keys import create_key, create_operator_key, list_keys, revoke_key
from rag.store.tenants import delete_tenant
from rag.tenancy import Operator


@pytest.fixture
def authenticator(database) -> Authenticator:
    return Authenticator(database)


@pytest.fixture
def forgetful(monkeypatch) -> None:
    """As if the time for which a key is remembered had passed."""
    monkeypatch.setattr(module, "_TRUST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_DISTRUST_SECONDS", 0.0)


async def new_key(owner, **more):
    async with owner.connect() as connection:
        return await create_key(connection, owner.tenant, **more)


async def test_a_key_stands_for_its_principal(authenticator, acme):
    key, key_id = await new_key(acme, groups=["staff"])
    principal = await authenticator.identify(key)
    assert (principal.tenant, principal.key_id, principal.groups) == (acme.tenant, key_id, ("staff",))


async def test_an_operators_key_stands_for_an_operator(authenticator, database):
    async with database.control() as control:
        key, key_id = await create_operator_key(control)
    assert await authenticator.identify(key) == Operator(key_id)


@pytest.mark.usefixtures("forgetful")
async def test_whatever_is_wrong_with_a_key_the_words_are_the_same(authenticator, acme):
    revoked, key_id = await new_key(acme)
    expired, _ = await new_key(acme, expires_at=datetime.now(UTC) - timedelta(days=1))
    async with acme.connect() as connection:
        await revoke_key(connection, acme.tenant, key_id)
    said = set()
    for key in (revoked, expired, generate_key("secret"), "clo_sk_x", "", "é", revoked[:-1] + "x"):
        with pytest.raises(Unauthenticated) as refusal:
            await authenticator.identify(key)
        said.add(refusal.value.message)
    assert len(said) == 1


async def test_what_cannot_be_a_key_is_not_looked_up(authenticator, database):
    await database.close()
    with pytest.raises(Unauthenticated):
        await authenticator.identify("clo_sk_nonsense")


async def test_a_key_is_looked_up_once_in_a_while(authenticator, acme):
    key, _ = await new_key(acme)
    unknown = generate_key("secret")
    first = await authenticator.identify(key)
    with pytest.raises(Unauthenticated):
        await authenticator.identify(unknown)
    await acme.database.close()
    assert await authenticator.identify(key) == first
    with pytest.raises(Unauthenticated):
        await authenticator.identify(unknown)


@pytest.mark.usefixtures("forgetful")
async def test_a_revoked_key_opens_nothing_once_it_is_forgotten(authenticator, acme):
    key, key_id = await new_key(acme)
    assert await authenticator.identify(key)
    async with acme.connect() as connection:
        await revoke_key(connection, acme.tenant, key_id)
    with pytest.raises(Unauthenticated):
        await authenticator.identify(key)


def test_a_revocation_bites_within_seconds():
    assert 0 < module._DISTRUST_SECONDS <= module._TRUST_SECONDS <= 5


@pytest.mark.usefixtures("forgetful")
async def test_a_deleted_tenants_key_opens_nothing(authenticator, acme):
    key, _ = await new_key(acme)
    assert await authenticator.identify(key)
    async with acme.database.control() as control:
        await delete_tenant(control, acme.tenant)
    with pytest.raises(Unauthenticated):
        await authenticator.identify(key)


async def test_what_is_remembered_is_bounded(authenticator, acme, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    keys = [(await new_key(acme))[0] for _ in range(5)]
    for key in keys:
        await authenticator.identify(key)
    assert len(authenticator._known) == 3


async def test_use_is_noted(authenticator, acme):
    key, _ = await new_key(acme)
    await authenticator.identify(key)
    async with acme.connect() as connection:
        (entry,) = await list_keys(connection, acme.tenant)
    assert entry.last_used_at


async def test_a_key_that_was_valid_here_is_known(authenticator, acme):
    key, _ = await new_key(acme)
    assert not authenticator.knows(key)
    await authenticator.identify(key)
    assert authenticator.knows(key)
    for other in (generate_key("secret"), "nonsense"):
        with pytest.raises(Unauthenticated):
            await authenticator.identify(other)
        assert not authenticator.knows(other)


async def test_a_flood_of_invented_keys_drives_no_real_one_out(authenticator, acme, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    key, _ = await new_key(acme)
    first = await authenticator.identify(key)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await authenticator.identify(generate_key("secret"))
    await acme.database.close()
    assert await authenticator.identify(key) == first


@pytest.mark.usefixtures("forgetful")
async def test_a_key_that_was_unknown_is_known_once_it_is_made(authenticator, acme, monkeypatch):
    key = generate_key("secret")
    with pytest.raises(Unauthenticated):
        await authenticator.identify(key)
    monkeypatch.setattr("rag.store.keys.generate_key", lambda kind: key)
    _, key_id = await new_key(acme)
    assert (await authenticator.identify(key)).key_id == key_id
