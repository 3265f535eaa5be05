from uuid import uuid4

import msgspec
import pytest

from rag.cache.buckets import LocalBuckets
from rag.limits.allowances import Allowance, Allowances
from rag.limits.rates import UNKNOWN_IDS, Rates
from rag.store.limits import change_limits
from rag.telemetry import REGISTRY
from rag.tenancy import Operator

DEFAULT = Allowance(tenant_units=400, key_units=300, user_units=200, concurrency=3)


@pytest.fixture
def rates(database):
    buckets = LocalBuckets(clock=lambda: 0.0)  # nothing comes back while the test runs
    return Rates(buckets, Allowances(database, DEFAULT), unknown_ids=3)


def left(verdict):
    return {standing.policy: standing.level.remaining for standing in verdict.standings}


def spend(rates, who, cost=1, *, names_an_id=False):
    return rates.spend(who, cost, names_an_id=names_an_id)


def person(owner, user, **more):
    return msgspec.structs.replace(owner.principal, user=user, **more)


def refused(kind):
    return REGISTRY.get_sample_value("cloister_limited_total", {"kind": kind}) or 0.0


async def test_tenant_key_and_user_pay(rates, acme):
    verdict = await spend(rates, person(acme, "ada"), 5)
    assert verdict.refusal is None
    assert left(verdict) == {"tenant": 395, "key": 295, "user": 195}
    assert left(await spend(rates, acme.principal, 5)) == {"tenant": 390, "key": 290}


async def test_users_keys_and_tenants_are_counted_apart(rates, acme, bolt):
    await spend(rates, person(acme, "ada"), 50)
    assert left(await spend(rates, person(acme, "bob"), 1))["user"] == 199
    assert left(await spend(rates, person(acme, "bob", key_id=uuid4()), 1)) == {"tenant": 348, "key": 299, "user": 198}
    assert left(await spend(rates, person(bolt, "ada"), 1)) == {"tenant": 399, "key": 299, "user": 199}


async def test_a_refusal_names_who_has_too_little_and_costs_nobody(rates, acme):
    before = refused("user")
    await spend(rates, person(acme, "ada"), 190)
    verdict = await spend(rates, person(acme, "ada"), 20)
    assert verdict.refusal is not None
    assert verdict.refusal.policy == "user"
    assert verdict.refusal.level.retry_after_s == pytest.approx(10 * 60 / 200)
    assert left(verdict) == {"tenant": 210, "key": 110, "user": 10}
    assert refused("user") == before + 1


async def test_the_longest_wait_is_told(rates, acme):
    await spend(rates, acme.principal, 290)
    verdict = await spend(rates, acme.principal, 300)
    assert {s.policy: s.level.allowed for s in verdict.standings} == {"tenant": False, "key": False}
    assert verdict.refusal == max(verdict.standings, key=lambda s: s.level.retry_after_s)


async def test_a_tenants_own_limits_hold_and_zero_is_none(rates, acme):
    async with acme.connect() as connection:
        await change_limits(connection, acme.tenant, {"tenant_units": 0, "key_units": 10})
    assert left(await spend(rates, acme.principal, 4)) == {"key": 6}
    assert (await spend(rates, acme.principal, 7)).refusal is not None


async def test_an_operator_pays_by_its_key(rates):
    assert left(await spend(rates, Operator(uuid4()), 10)) == {"key": 290}


async def test_who_names_too_many_unknown_ids_may_name_no_more_and_search_on(rates, acme):
    for _ in range(3):
        assert (await spend(rates, acme.principal, names_an_id=True)).refusal is None
        await rates.note_unknown_id(acme.principal)
    verdict = await spend(rates, acme.principal, names_an_id=True)
    assert verdict.refusal is not None
    assert verdict.refusal.policy == UNKNOWN_IDS
    assert left(verdict) == {"tenant": 397, "key": 297}
    assert (await spend(rates, acme.principal)).refusal is None
    for another in (person(acme, None, key_id=uuid4()), person(acme, "ada")):
        assert (await spend(rates, another, names_an_id=True)).refusal is None


async def test_no_limits_no_buckets(database, acme):
    free = Allowance(tenant_units=0, key_units=0, user_units=0, concurrency=0)
    rates = Rates(LocalBuckets(), Allowances(database, free), unknown_ids=0)
    verdict = await spend(rates, person(acme, "ada"), 99, names_an_id=True)
    assert verdict == ([], None)
    await rates.note_unknown_id(acme.principal)
