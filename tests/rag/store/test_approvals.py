import asyncio
from uuid import uuid4

import msgspec
import psycopg
import pytest

from rag.audit import CONTROL, Actor
from rag.domain import TenantId
from rag.errors import ApprovalRequired, Conflict, Forbidden, NotFound
from rag.store import approvals
from rag.store.approvals import PrivilegedAct, decide_approval, get_approval, list_approvals, require_approval
from rag.store.audit import read_chain
from rag.store.keys import create_operator_key, rotate_operator_key
from rag.store.tenants import create_tenant

ASKER, GRANTER = Actor(type="local", user="mia"), Actor(type="local", user="noa")
ACT = PrivilegedAct(name="space.activate", arguments={"space": "minilm_l6_v2"})


async def do(database, act=ACT, *, by=ASKER, approval=None, required=True, slug="made"):
    """A privileged act whose trace is a tenant."""
    async with database.acting_for(by).control() as connection:
        await require_approval(connection, act, by=by, approval=approval, required=required)
        await create_tenant(connection, slug)


async def ask(database, act=ACT, *, by=ASKER):
    with pytest.raises(ApprovalRequired) as asked:
        await do(database, act, by=by)
    assert asked.value.approval
    return asked.value.approval


async def decide(database, approval, decision="granted", *, by=GRANTER):
    async with database.acting_for(by).control() as connection:
        return await decide_approval(connection, approval, decision, by=by)


async def state_of(database, approval):
    async with database.control() as connection:
        return (await get_approval(connection, approval)).state


async def test_asked_for_by_one_granted_by_another_done_once(database):
    approval = await ask(database)
    assert await state_of(database, approval) == "pending"
    granted = await decide(database, approval)
    assert (granted.state, granted.requested_by, granted.decided_by) == ("granted", "local:mia", "local:noa")
    await do(database, approval=approval)
    assert await state_of(database, approval) == "used"
    with pytest.raises(ApprovalRequired):
        await do(database, approval=approval, slug="again")
    async with database.control() as connection:
        assert [found.state for found in await list_approvals(connection)] == ["used"]


async def test_each_step_is_in_the_trail_with_who_took_it(database):
    approval = await ask(database)
    await decide(database, approval)
    await do(database, approval=approval)
    found = [msgspec.json.decode(entry.event) async for entry in read_chain(database, CONTROL)]
    steps = [(event["activity_name"], event["actor"]["user"]["name"]) for event in found]
    assert steps == [
        ("approval.request", "mia"),
        ("approval.grant", "noa"),
        ("approval.use", "mia"),
        ("tenant.create", "mia"),
    ]
    assert {event["resources"][0]["uid"] for event in found[:3]} == {str(approval)}


async def test_a_tenants_approvals_are_in_its_own_chain(acme):
    act = PrivilegedAct(name="tenant.delete", subject=acme.tenant)
    approval = await ask(acme.database, act)
    await decide(acme.database, approval, "denied")
    names = [msgspec.json.decode(e.event)["activity_name"] async for e in read_chain(acme.database, acme.tenant)]
    assert names[1:] == ["approval.request", "approval.deny"]


async def test_nobody_grants_what_they_asked_for(database):
    approval = await ask(database)
    with pytest.raises(Forbidden):
        await decide(database, approval, by=ASKER)
    with pytest.raises(ApprovalRequired, match="another operator has to grant"):
        await do(database, approval=approval)
    assert (await decide(database, approval, "denied", by=ASKER)).state == "denied", "one's own may be taken back"


async def test_a_key_that_is_younger_than_the_request_does_not_grant_it(database):
    async with database.control() as connection:
        _, old = await create_operator_key(connection)
    approval = await ask(database)
    async with database.control() as connection:
        _, young = await create_operator_key(connection)
    with pytest.raises(Forbidden):
        await decide(database, approval, by=Actor(type="operator", key_id=young))
    assert (await decide(database, approval, by=Actor(type="operator", key_id=old))).state == "granted"


async def test_a_rotated_key_does_not_grant_what_its_predecessor_asked_for_nor_the_other_way_round(database):
    async with database.control() as connection:
        _, old = await create_operator_key(connection)
        new = (await rotate_operator_key(connection, old)).made.key_id
        _, others = await create_operator_key(connection)
    first, second = (Actor(type="operator", key_id=key) for key in (old, new))
    for asker, granter in ((first, second), (second, first)):
        approval = await ask(database, by=asker)
        with pytest.raises(Forbidden):
            await decide(database, approval, by=granter)
        assert (await decide(database, approval, by=Actor(type="operator", key_id=others))).state == "granted"


@pytest.mark.parametrize(
    "other",
    [
        PrivilegedAct(name="space.activate", arguments={"space": "another"}),
        PrivilegedAct(name="tenant.delete", arguments=ACT.arguments),
        PrivilegedAct(name=ACT.name, subject=TenantId(uuid4()), arguments=ACT.arguments),
    ],
)
async def test_it_is_bound_to_the_act_and_its_arguments(database, other):
    approval = await ask(database)
    await decide(database, approval)
    with pytest.raises(ApprovalRequired, match="no approval of this id"):
        await do(database, other, approval=approval)
    assert await state_of(database, approval) == "granted"


async def test_only_who_asked_for_it_uses_it(database):
    approval = await ask(database)
    await decide(database, approval)
    with pytest.raises(ApprovalRequired, match="no approval of this id") as refused:
        await do(database, by=GRANTER, approval=approval)
    with pytest.raises(ApprovalRequired) as absent:
        await do(database, by=GRANTER, approval=uuid4())
    assert refused.value.message == absent.value.message


async def test_it_expires(database, admin_url):
    approval = await ask(database)
    await decide(database, approval)
    with psycopg.connect(admin_url) as admin:
        admin.execute("UPDATE cloister.approvals SET expires_at = now() - interval '1 second'")
    assert await state_of(database, approval) == "expired"
    with pytest.raises(ApprovalRequired, match="expired"):
        await do(database, approval=approval)
    assert await ask(database) != approval
    async with database.control() as connection:
        assert [found.approval_id for found in await list_approvals(connection, state="expired")] == [approval]


async def test_the_same_request_again_is_the_same_request(database):
    approval = await ask(database)
    assert await ask(database) == approval
    await decide(database, approval)
    with pytest.raises(ApprovalRequired, match="granted already") as asked:
        await do(database)
    assert asked.value.approval == approval


@pytest.mark.parametrize("decision", ["granted", "denied"])
async def test_what_is_decided_stays_decided(database, decision):
    approval = await ask(database)
    await decide(database, approval, decision)
    for again in ("granted", "denied"):
        with pytest.raises(Conflict, match=decision):
            await decide(database, approval, again)
    with pytest.raises(NotFound):
        await decide(database, uuid4())


async def test_two_that_use_it_at_once_do_it_once(database):
    approval = await ask(database)
    await decide(database, approval)
    done = await asyncio.gather(
        *(do(database, approval=approval, slug=f"t{n}") for n in range(4)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in done) == ["ApprovalRequired"] * 3 + ["NoneType"]


async def test_an_act_that_fails_spends_nothing(database):
    approval = await ask(database)
    await decide(database, approval)
    await do(database, required=False, slug="taken")
    with pytest.raises(Conflict):
        await do(database, approval=approval, slug="taken")
    assert await state_of(database, approval) == "granted"


async def test_where_they_are_off_nothing_is_asked(database):
    await do(database, required=False)
    async with database.control() as connection:
        assert await list_approvals(connection) == []


async def test_asking_after_a_write_is_a_defect_and_keeps_nothing(database):
    async def act():
        async with database.control() as connection:
            await create_tenant(connection, "early")
            await require_approval(connection, ACT, by=ASKER, approval=None, required=True)

    with pytest.raises(psycopg.errors.InvalidTransactionState):
        await act()
    await do(database, required=False, slug="early")


async def test_requests_that_wait_are_bounded(database, monkeypatch):
    monkeypatch.setattr(approvals, "_MOST", 2)
    for name in ("a", "b"):
        await ask(database, PrivilegedAct(name=name))
    with pytest.raises(Conflict, match="wait already"):
        await do(database, PrivilegedAct(name="c"))
    await ask(database, PrivilegedAct(name="c", subject=TenantId(uuid4())))


async def test_the_serving_role_reaches_the_table_only_by_its_functions(database):
    for text in ("SELECT 1 FROM approvals", "UPDATE approvals SET state = 'granted'", "DELETE FROM approvals"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with database.control() as connection:
                await connection.execute(text)
