import asyncio
from uuid import uuid4

import msgspec
import pytest_asyncio
from structlog.testing import capture_logs

from rag.audit import CONTROL, Actor
from rag.keys import digest_key, generate_key
from rag.store import incidents as module
from rag.store.audit import read_chain, read_head
from rag.store.database import Database
from rag.store.incidents import Incidents
from rag.store.keys import create_key, revoke_key

CALLER = Actor(type="key", key_id=uuid4(), ip="10.0.0.9", request_id="r-9")


@pytest_asyncio.fixture
async def incidents(database):
    return Incidents(database)


async def events_of(database, chain):
    return [msgspec.json.decode(found.event) async for found in read_chain(database, chain)]


async def test_a_flood_of_refusals_is_one_event_with_a_count(acme, incidents):
    for _ in range(10_000):
        incidents.forbidden(acme.tenant, CALLER, method="POST", route="/v1/answers")
    assert (await read_head(acme.database, acme.tenant))[0] == 1, "a refusal is counted, and writes nothing"
    await incidents.flush()
    await incidents.flush()
    _, event = await events_of(acme.database, acme.tenant)
    assert (event["activity_name"], event["status_id"]) == ("access.forbidden", 2)
    assert event["unmapped"] == event["unmapped"] | {"count": 10_000, "method": "POST", "route": "/v1/answers"}
    assert event["actor"]["user"]["credential_uid"] == str(CALLER.key_id)
    assert event["metadata"]["correlation_uid"] == "r-9"


async def test_many_kinds_are_few_events_and_one_for_the_rest(acme, incidents):
    for number in range(50):
        for _ in range(number + 1):
            incidents.forbidden(acme.tenant, CALLER, method="GET", route=f"/{number}")
    await incidents.flush()
    found = [event["unmapped"] for event in (await events_of(acme.database, acme.tenant))[1:]]
    assert [detail["count"] for detail in found] == [*range(50, 30, -1), sum(range(1, 31))]
    assert found[-1]["of"] == "other kinds"


async def test_what_is_counted_takes_bounded_memory(acme, incidents, monkeypatch):
    monkeypatch.setattr(module, "_KINDS", 10)
    for number in range(30):
        incidents.forbidden(acme.tenant, CALLER, method="GET", route=f"/{number}")
    assert len(incidents._known) == 10
    await incidents.flush()
    (rest,) = (event for event in await events_of(acme.database, CONTROL) if event["class_uid"] == 6003)
    assert rest["unmapped"]["count"] == 20


async def test_a_revoked_key_is_recognised_and_an_invented_one_leaves_nothing(acme, incidents):
    async with acme.connect() as connection:
        key, key_id = await create_key(connection, acme.tenant)
        await revoke_key(connection, acme.tenant, key_id)
    for sent in (key, generate_key("secret")):
        incidents.unauthenticated(digest_key(sent), CALLER)
    before = await read_head(acme.database, CONTROL)
    await incidents.flush()
    last = (await events_of(acme.database, acme.tenant))[-1]
    assert (last["activity_name"], last["actor"]["user"]["credential_uid"]) == ("access.unauthenticated", str(key_id))
    assert await read_head(acme.database, CONTROL) == before
    assert key not in msgspec.json.encode(last).decode()


async def test_invented_keys_drive_out_no_other_incident(acme, incidents, monkeypatch):
    monkeypatch.setattr(module, "_KINDS", 5)
    for _ in range(20):
        incidents.unauthenticated(digest_key(generate_key("secret")), CALLER)
    incidents.alarm(acme.tenant, CALLER, where="hydration", times=2)
    await incidents.flush()
    last = (await events_of(acme.database, acme.tenant))[-1]
    assert (last["activity_name"], last["severity_id"], last["unmapped"]["count"]) == ("isolation.alarm", 5, 2)


async def test_an_alarm_does_not_wait_for_the_minute(acme, incidents):
    incidents.open()
    incidents.alarm(acme.tenant, CALLER, where="cache", times=1)
    async with asyncio.timeout(30):
        while (await read_head(acme.database, acme.tenant))[0] == 1:  # noqa: ASYNC110 - it comes to pass in a database
            await asyncio.sleep(0.02)
    incidents.forbidden(acme.tenant, CALLER, method="GET", route="/x")
    await incidents.close()
    names = [event["activity_name"] for event in await events_of(acme.database, acme.tenant)]
    assert names[1:] == ["isolation.alarm", "access.forbidden"]


async def test_what_cannot_be_appended_is_logged_and_ends_nothing(settings):
    database = await Database.open(settings.secret("database_url"), size=1)
    lost = Incidents(database)
    lost.forbidden(None, CALLER, method="GET", route="/x")
    async with database.control() as connection:
        with capture_logs() as lines:
            database.pool.timeout = 0.05
            await lost.flush()
        await connection.execute("SELECT 1")
    assert [(line["event"], line["kinds"]) for line in lines] == [("incidents_lost", 1)]
    await database.close()
