import msgspec
import pytest

from rag.domain import Limits
from rag.limits import allowances as module
from rag.limits.allowances import Allowance, Allowances, default_allowance, laid_over, three_quarters
from rag.store.limits import change_limits

DEFAULT = Allowance(tenant_units=400, key_units=300, user_units=200, concurrency=3)


@pytest.fixture
def allowances(database):
    return Allowances(database, DEFAULT)


@pytest.fixture
def forgetful(monkeypatch):
    """As if the time for which limits are remembered had passed."""
    monkeypatch.setattr(module, "_TRUST_SECONDS", 0.0)


async def change(owner, **limits):
    async with owner.connect() as connection:
        await change_limits(connection, owner.tenant, limits)


async def test_a_tenant_without_limits_of_its_own_has_the_default(allowances, acme):
    assert await allowances.of(acme.tenant) == DEFAULT


async def test_what_the_operator_set_is_laid_over_it(allowances, acme, bolt):
    await change(acme, key_units=7, user_units=0)
    assert await allowances.of(acme.tenant) == msgspec.structs.replace(DEFAULT, key_units=7, user_units=0)
    assert await allowances.of(bolt.tenant) == DEFAULT


def test_none_is_the_default_and_zero_is_not():
    assert laid_over(DEFAULT, Limits(tenant_units=0, key_units=None)).tenant_units == 0
    assert laid_over(DEFAULT, Limits()) == DEFAULT


async def test_it_is_read_once_in_a_while(allowances, acme):
    await allowances.of(acme.tenant)
    await change(acme, key_units=7)
    assert (await allowances.of(acme.tenant)).key_units == DEFAULT.key_units
    assert 0 < module._TRUST_SECONDS <= 5


@pytest.mark.usefixtures("forgetful")
async def test_a_change_holds_once_the_old_ones_are_forgotten(allowances, acme):
    await allowances.of(acme.tenant)
    await change(acme, key_units=7)
    assert (await allowances.of(acme.tenant)).key_units == 7


@pytest.mark.usefixtures("forgetful")
async def test_while_the_database_is_away_the_last_known_hold(allowances, acme, absent_id):
    await change(acme, key_units=7)
    await allowances.of(acme.tenant)
    await acme.database.close()
    assert (await allowances.of(acme.tenant)).key_units == 7
    assert await allowances.of(absent_id) == DEFAULT


async def test_what_is_remembered_is_bounded(allowances, monkeypatch, acme, bolt):
    monkeypatch.setattr(module, "_REMEMBERED", 1)
    for owner in (acme, bolt):
        await allowances.of(owner.tenant)
    assert list(allowances._known) == [bolt.tenant]


def test_one_tenant_leaves_connections_to_the_others(settings):
    assert [three_quarters(size) for size in (1, 2, 3, 4, 8, 20)] == [1, 1, 2, 3, 6, 15]
    assert default_allowance(settings).concurrency == three_quarters(settings.pool_size)
    chosen = msgspec.structs.replace(settings, tenant_concurrency=0)
    assert default_allowance(chosen).concurrency == 0
