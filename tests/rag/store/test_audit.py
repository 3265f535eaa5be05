import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import psycopg
import pytest

from rag.audit import CONTROL, Act, Actor, Event
from rag.domain import TenantId
from rag.errors import Conflict
from rag.store.audit import known_keys, list_events, list_heads, read_chain, read_head, record
from rag.store.audit_chain import verify
from rag.store.collections import CollectionChange, create_collection, delete_collection, update_collection
from rag.store.documents import delete_document
from rag.store.ingestion import cancel_job, retry_job
from rag.store.keys import (
    create_key,
    create_operator_key,
    revoke_key,
    revoke_operator_key,
    rotate_key,
    rotate_operator_key,
)
from rag.store.limits import change_limits
from rag.store.tenants import create_tenant, delete_tenant

START = Event(act=Act.SERVICE_START)


async def events_of(database, chain):
    return [msgspec.json.decode(found.event) async for found in read_chain(database, chain)]


async def names_of(database, chain):
    return [event["activity_name"] for event in await events_of(database, chain)]


async def test_every_write_of_a_tenant_is_recorded_in_its_chain(acme):
    by = Actor(type="key", key_id=uuid4(), user="mia", ip="10.0.0.1", request_id="r-1")
    database = acme.database.acting_for(by)
    async with database.tenant(acme.tenant) as connection:
        _, key = await create_key(connection, acme.tenant, groups=["staff"])
        successor = (await rotate_key(connection, acme.tenant, key)).made.key_id
        await revoke_key(connection, acme.tenant, key)
        await change_limits(connection, acme.tenant, {"key_units": 6000})
        await create_collection(connection, acme.tenant, "shop", refusal_threshold=0.25)
        await update_collection(connection, acme.tenant, "shop", CollectionChange(facet_fields=["brand"]))
        await delete_collection(connection, acme.tenant, "shop")
    receipt = await acme.put("dead", "x")
    await acme.kill(receipt)
    async with database.tenant(acme.tenant) as connection:
        await retry_job(connection, acme.delivery, acme.tenant, receipt.job_id)
        await cancel_job(connection, acme.tenant, receipt.job_id)
        await delete_document(connection, acme.tenant, "kb", "dead")

    found = (await events_of(acme.database, acme.tenant))[1:]  # the first is the collection of the fixture
    assert [event["activity_name"] for event in found] == [
        "key.create",
        "key.create",
        "key.rotate",
        "key.revoke",
        "tenant.update",
        "collection.create",
        "collection.update",
        "collection.delete",
        "job.retry",
        "job.cancel",
        "document.delete",
    ]
    for place, event in enumerate(found, 2):
        assert event["metadata"]["sequence"] == place
        assert event["metadata"]["tenant_uid"] == str(acme.tenant)
        assert event["metadata"]["correlation_uid"] == "r-1"
        assert event["src_endpoint"] == {"ip": "10.0.0.1"}
        assert event["actor"]["user"] == {"type": "key", "type_id": 1, "credential_uid": str(by.key_id), "name": "mia"}
    assert found[0]["resources"] == [{"type": "key", "uid": str(key)}]
    assert found[0]["unmapped"]["groups"] == ["staff"]
    assert found[2]["unmapped"] == {"successor": str(successor)}
    assert found[4]["unmapped"] == {"key_units": 6000}
    assert found[5]["unmapped"]["refusal_threshold"] == "0.25"


async def test_a_document_is_written_by_who_handed_it_in_and_not_by_the_worker(acme):
    by = Actor(type="key", key_id=uuid4())
    writer = type(acme)(acme.database.acting_for(by), acme.delivery, acme.principal, acme.embed)
    receipt = await writer.put("a", "A secret text.", title="A secret title", groups=["staff"])
    await acme.finish(await acme.claim(receipt))
    (written,) = [e for e in await events_of(acme.database, acme.tenant) if e["activity_name"] == "document.write"]
    assert written["actor"]["user"]["credential_uid"] == str(by.key_id)
    assert written["resources"] == [{"type": "document", "uid": str(receipt.document_id)}]
    assert written["unmapped"] == {"collection": "kb", "version": 1, "groups": ["staff"]}
    assert "secret" not in msgspec.json.encode(written).decode()


@pytest.mark.parametrize(
    ("before", "after", "act"),
    [
        ([], ["staff"], "document.close"),
        (["staff"], [], "document.open"),
        (["staff"], ["staff", "guests"], "document.open"),
        (["staff", "guests"], ["staff"], "document.close"),
        (["staff"], ["guests"], "document.open"),
        (["staff"], ["staff"], None),
    ],
)
async def test_a_change_of_groups_is_a_change_of_permission(acme, before, after, act):
    await acme.serve("a", "The first text.", groups=before)
    await acme.serve("a", "The second text.", groups=after)
    found = [event for event in await events_of(acme.database, acme.tenant) if event["class_uid"] == 3006]
    assert [event["activity_name"] for event in found] == ([act] if act else [])
    for event in found:
        assert (event["unmapped"]["groups_before"], event["unmapped"]["groups"]) == (sorted(before), sorted(after))


async def test_what_belongs_to_no_tenant_is_in_the_control_chain(database):
    async with database.control() as connection:
        made = await create_tenant(connection, "acme")
        _, key = await create_operator_key(connection)
        await rotate_operator_key(connection, key)
        await revoke_operator_key(connection, key)
        await delete_tenant(connection, TenantId(made.tenant_id))
    assert await names_of(database, CONTROL) == [
        "tenant.create",
        "key.create",
        "key.rotate",
        "key.revoke",
        "tenant.delete",
    ]


async def test_a_deleted_tenants_chain_stays_readable(acme):
    async with acme.database.control() as connection:
        await delete_tenant(connection, acme.tenant)
        heads = {head.chain: head for head in await list_heads(connection)}
        page = await list_events(connection, chain=acme.tenant)
    assert heads[acme.tenant].slug is None
    assert [entry.recorded.sequence for entry in page] == [1]
    assert await names_of(acme.database, acme.tenant) == ["collection.create"]


async def test_an_event_is_the_last_statement_of_its_transaction(acme):
    async with acme.database.tenant(acme.tenant) as connection:
        await record(connection, acme.tenant, START)
        found = await connection.execute("SELECT count(*) AS n FROM audit_events")
        assert (await found.fetchone())["n"] == 1, "the fixture's: this one waits for the end"
        locks = await connection.execute(
            "SELECT count(*) AS n FROM pg_locks WHERE relation = 'audit_chains'::regclass AND mode = 'RowShareLock'"
        )
        assert (await locks.fetchone())["n"] == 0
    assert (await names_of(acme.database, acme.tenant))[-1] == "service.start"


async def test_an_act_that_is_undone_leaves_no_event_and_the_next_one_has_no_gap(acme):
    async def twice():
        async with acme.database.tenant(acme.tenant) as connection:
            await create_collection(connection, acme.tenant, "shop")
            await create_collection(connection, acme.tenant, "shop")

    with pytest.raises(Conflict):
        await twice()
    async with acme.database.tenant(acme.tenant) as connection:
        await create_collection(connection, acme.tenant, "den")
    found = await events_of(acme.database, acme.tenant)
    assert [(event["metadata"]["sequence"], event["resources"][0]["uid"]) for event in found] == [(1, "kb"), (2, "den")]


async def test_an_act_whose_event_cannot_be_kept_is_not_done(acme):
    async def act():
        async with acme.database.tenant(acme.tenant) as connection:
            await create_collection(connection, acme.tenant, "shop")
            await record(connection, TenantId(uuid4()), START)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await act()
    async with acme.database.tenant(acme.tenant) as connection:
        found = await connection.execute("SELECT name FROM collections")
        assert [row["name"] for row in await found.fetchall()] == ["kb"]


async def test_writers_at_the_same_time_make_one_chain_without_a_gap(acme):
    async def act(number):
        for _ in range(10):
            async with acme.database.tenant(acme.tenant) as connection:
                await record(connection, acme.tenant, Event(act=Act.SERVICE_START, detail={"writer": number}))

    await asyncio.gather(*(act(number) for number in range(4)))
    found = await events_of(acme.database, acme.tenant)
    assert [event["metadata"]["sequence"] for event in found] == list(range(1, 42))
    (verdict,) = [verdict async for verdict in verify(acme.database, chain=acme.tenant)]
    assert (verdict.events, verdict.fault_count) == (41, 0)


async def test_two_transactions_that_write_to_the_same_chains_do_not_wait_in_a_ring(acme, bolt):
    async def act(chains):
        for _ in range(10):
            async with acme.database.control() as connection:
                for chain in chains:
                    await record(connection, chain, START)

    await asyncio.gather(act([acme.tenant, bolt.tenant, None]), act([None, bolt.tenant, acme.tenant]))
    assert (await read_head(acme.database, acme.tenant))[0] == 21


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO cloister.audit_events SELECT tenant_id, 99, now(), hash, hash, event FROM cloister.audit_events",
        "UPDATE cloister.audit_events SET event = '{}'",
        "DELETE FROM cloister.audit_events",
        "TRUNCATE cloister.audit_events",
        "UPDATE cloister.audit_chains SET sequence = 0",
        "DELETE FROM cloister.audit_chains",
        "TRUNCATE cloister.audit_chains",
        "ALTER TABLE cloister.audit_events DISABLE TRIGGER ALL",
    ],
)
async def test_the_serving_role_can_only_append(acme, text):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acme.connect() as connection:
            await connection.execute(text)
    assert len(await events_of(acme.database, acme.tenant)) == 1


@pytest.mark.parametrize("replica", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "UPDATE cloister.audit_events SET event = '{}'",
        "DELETE FROM cloister.audit_events",
        "TRUNCATE cloister.audit_events",
        "UPDATE cloister.audit_chains SET sequence = sequence",
        "UPDATE cloister.audit_chains SET sequence = sequence - 1",
        "DELETE FROM cloister.audit_chains",
        "TRUNCATE cloister.audit_chains",
    ],
)
async def test_the_triggers_hold_for_the_owner_and_for_a_superuser(acme, owner_url, admin_url, text, replica):
    with psycopg.connect(admin_url if replica else owner_url) as connection:
        if replica:
            connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"append-only|only grows"):
            connection.execute(text)


async def test_pages_are_newest_first_over_all_chains_or_of_one(acme, bolt):
    async with acme.database.control() as connection:
        seen, before = [], None
        while page := await list_events(connection, before=before, limit=1):
            (entry,) = page
            seen.append((entry.chain, entry.slug))
            before = (entry.recorded.occurred_at, entry.chain, entry.recorded.sequence)
        assert sorted(seen, key=str) == sorted(
            [(CONTROL, None), (CONTROL, None), (acme.tenant, "acme"), (bolt.tenant, "bolt")], key=str
        )
        assert {entry.chain for entry in await list_events(connection, chain=bolt.tenant)} == {bolt.tenant}


async def test_a_chain_is_read_from_a_moment_on(acme):
    ahead = datetime.now(UTC) + timedelta(hours=1)
    assert [found async for found in read_chain(acme.database, acme.tenant, since=ahead)] == []


async def test_a_key_is_recognised_by_its_digest_also_when_it_is_revoked(acme):
    from rag.keys import digest_key

    async with acme.connect() as connection:
        key, key_id = await create_key(connection, acme.tenant)
        await revoke_key(connection, acme.tenant, key_id)
    async with acme.database.control() as connection:
        assert await known_keys(connection, [digest_key(key), bytes(32)]) == {digest_key(key): (key_id, acme.tenant)}
