"""The verifier against a superuser who disables the triggers, and who knows how the hashes are made."""

import hashlib

import psycopg
import pytest

from rag.audit import CONTROL, Act, Event, chain_name
from rag.errors import InvalidInput
from rag.store.audit import record
from rag.store.audit_chain import Anchor, read_anchor, verify

OFF = """ALTER TABLE cloister.audit_events DISABLE TRIGGER ALL; ALTER TABLE cloister.audit_chains DISABLE TRIGGER ALL"""


@pytest.fixture
async def chain(acme):
    """A chain of nine events; the first is the fixture's collection."""
    async with acme.connect() as connection:
        for number in range(2, 10):
            await record(connection, acme.tenant, Event(act=Act.SERVICE_START, detail={"number": number}))
    return acme.tenant


@pytest.fixture
def tamper(admin_url, chain):
    """Run statements as the superuser, past the triggers; `%s` is the tenant."""

    def run(*texts):
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(OFF)
            for text in texts:
                admin.execute(text, [chain] * text.count("%s"))

    return run


@pytest.fixture
def forge(admin_url, chain):
    """Change an event and hash everything from it on anew, the head too, as one who owns the server can."""

    def run(sequence):
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(OFF)
            rows = admin.execute(
                "SELECT sequence, previous_hash, event FROM cloister.audit_events "
                "WHERE tenant_id = %s AND sequence >= %s ORDER BY 1",
                [chain, sequence],
            ).fetchall()
            previous = rows[0][1]
            for number, _, event in rows:
                said = event.replace('"severity_id": 1', '"severity_id": 0') if number == sequence else event
                digest = hashlib.sha256(previous + said.encode()).digest()
                admin.execute(
                    "UPDATE cloister.audit_events SET event = %s, previous_hash = %s, hash = %s "
                    "WHERE tenant_id = %s AND sequence = %s",
                    [said, previous, digest, chain, number],
                )
                previous = digest
            admin.execute("UPDATE cloister.audit_chains SET hash = %s WHERE tenant_id = %s", [previous, chain])

    return run


async def verdict_of(acme, *anchors):
    (verdict,) = [found async for found in verify(acme.database, chain=acme.tenant, anchors=anchors)]
    return verdict


async def faults_of(acme, *anchors):
    verdict = await verdict_of(acme, *anchors)
    assert verdict.fault_count == len(verdict.faults)
    return [(fault.kind, fault.sequence) for fault in verdict.faults]


async def test_an_untouched_chain_is_whole(acme, chain):
    verdict = await verdict_of(acme)
    assert (verdict.events, verdict.fault_count, verdict.tenant) == (9, 0, "acme")
    assert await faults_of(acme, read_anchor(verdict.head)) == []


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("SET event = replace(event, '\"number\": 5', '\"number\": 6')", [("changed", 5)]),
        ("SET hash = sha256('x')", [("changed", 5), ("inserted", 6)]),
        ("SET occurred_at = occurred_at - interval '1 day'", [("moved", 5)]),
        ("SET tenant_id = tenant_id, previous_hash = sha256('x')", [("changed", 5)]),
        ("SET event = 'not json'", [("changed", 5), ("moved", 5)]),
    ],
)
async def test_a_changed_event_is_named(acme, tamper, text, faults):
    tamper(f"UPDATE cloister.audit_events {text} WHERE tenant_id = %s AND sequence = 5")
    assert await faults_of(acme) == faults


async def test_an_event_that_was_replaced_by_one_with_a_right_hash_is_named_by_its_successor(acme, tamper):
    tamper(
        "UPDATE cloister.audit_events SET event = replace(event, '\"number\": 5', '\"number\": 6'), "
        "hash = sha256(previous_hash || convert_to(replace(event, '\"number\": 5', '\"number\": 6'), 'UTF8')) "
        "WHERE tenant_id = %s AND sequence = 5"
    )
    assert await faults_of(acme) == [("inserted", 6)]


@pytest.mark.parametrize(
    ("where", "faults"),
    [
        ("sequence = 1", [("missing", 1)]),
        ("sequence IN (4, 5)", [("missing", 4)]),
        ("sequence = 9", [("cut", 8)]),
        ("sequence > 3", [("cut", 3)]),
        ("true", [("cut", 0)]),
    ],
)
async def test_removed_events_are_named(acme, tamper, where, faults):
    tamper(f"DELETE FROM cloister.audit_events WHERE tenant_id = %s AND {where}")
    assert await faults_of(acme) == faults


async def test_a_gap_that_is_closed_by_numbering_anew_is_found(acme, tamper):
    tamper(
        "DELETE FROM cloister.audit_events WHERE tenant_id = %s AND sequence = 5",
        "UPDATE cloister.audit_events SET sequence = -sequence WHERE tenant_id = %s AND sequence > 5",
        "UPDATE cloister.audit_events SET sequence = -sequence - 1 WHERE tenant_id = %s AND sequence < 0",
        "UPDATE cloister.audit_chains SET sequence = 8 WHERE tenant_id = %s",
    )
    assert await faults_of(acme) == [("inserted", 5), *(("moved", number) for number in range(5, 9))]


async def test_events_in_another_order_are_found(acme, tamper):
    tamper(
        "UPDATE cloister.audit_events SET sequence = 0 WHERE tenant_id = %s AND sequence = 4",
        "UPDATE cloister.audit_events SET sequence = 4 WHERE tenant_id = %s AND sequence = 5",
        "UPDATE cloister.audit_events SET sequence = 5 WHERE tenant_id = %s AND sequence = 0",
    )
    assert await faults_of(acme) == [
        ("inserted", 4),
        ("moved", 4),
        ("inserted", 5),
        ("moved", 5),
        ("inserted", 6),
    ]


async def test_an_event_put_in_at_the_end_is_found(acme, tamper):
    tamper(
        "INSERT INTO cloister.audit_events SELECT tenant_id, 10, occurred_at, hash, sha256(hash || "
        "convert_to(replace(event, '\"sequence\": 9', '\"sequence\": 10'), 'UTF8')), "
        "replace(event, '\"sequence\": 9', '\"sequence\": 10') "
        "FROM cloister.audit_events WHERE tenant_id = %s AND sequence = 9"
    )
    assert await faults_of(acme) == [("head", 10)]


async def test_another_chains_event_is_found(acme, bolt, tamper):
    tamper(
        f"UPDATE cloister.audit_events SET (occurred_at, previous_hash, hash, event) = (SELECT occurred_at, "
        f"previous_hash, hash, event FROM cloister.audit_events WHERE tenant_id = '{bolt.tenant}' AND sequence = 1) "
        "WHERE tenant_id = %s AND sequence = 1"
    )
    assert await faults_of(acme) == [("moved", 1), ("inserted", 2)]


async def test_a_head_that_is_gone_or_set_back_is_found(acme, tamper):
    tamper("UPDATE cloister.audit_chains SET sequence = 8 WHERE tenant_id = %s")
    assert await faults_of(acme) == [("head", 9)]
    tamper("DELETE FROM cloister.audit_chains WHERE tenant_id = %s")
    assert await faults_of(acme) == [("head", 9)]


async def test_a_cut_with_the_head_set_back_is_found_by_what_was_noted(acme, tamper):
    noted = read_anchor((await verdict_of(acme)).head)
    tamper(
        "DELETE FROM cloister.audit_events WHERE tenant_id = %s AND sequence > 6",
        "UPDATE cloister.audit_chains c SET sequence = 6, hash = e.hash FROM cloister.audit_events e "
        "WHERE c.tenant_id = %s AND e.tenant_id = c.tenant_id AND e.sequence = 6",
    )
    assert await faults_of(acme) == [], "inside of the database nothing is wrong any more"
    assert await faults_of(acme, noted) == [("cut", 6)]


async def test_a_forgery_of_all_hashes_is_found_by_what_was_noted(acme, chain, forge):
    noted = read_anchor((await verdict_of(acme)).head)
    forge(3)
    assert await faults_of(acme) == []
    assert await faults_of(acme, noted) == [("anchor", 9)]


async def test_a_chain_that_is_gone_is_found_by_what_was_noted(acme, chain, tamper):
    noted = read_anchor((await verdict_of(acme)).head)
    tamper(
        "DELETE FROM cloister.audit_events WHERE tenant_id = %s",
        "DELETE FROM cloister.audit_chains WHERE tenant_id = %s",
    )
    verdicts = {verdict.chain: verdict async for verdict in verify(acme.database, anchors=[noted])}
    assert verdicts[str(chain)].faults[0].kind == "cut"
    assert verdicts["control"].fault_count == 0


async def test_faults_are_counted_beyond_those_that_are_named(acme, chain, tamper):
    async with acme.connect() as connection:
        for _ in range(300):
            await record(connection, acme.tenant, Event(act=Act.SERVICE_START))
    tamper("UPDATE cloister.audit_events SET event = replace(event, '\"severity_id\": 1', '\"severity_id\": 0')")
    verdict = await verdict_of(acme)
    assert (verdict.fault_count, len(verdict.faults)) == (309, 100)


def test_an_anchor_is_read_as_it_is_printed():
    anchor = Anchor(CONTROL, 7, bytes(range(32)))
    assert read_anchor(f" {anchor}\n") == anchor
    assert str(anchor).startswith(f"{chain_name(CONTROL)}:7:0001")
    for wrong in ("", "control:7", f"control:x:{bytes(32).hex()}", f"acme:7:{bytes(32).hex()}"):
        with pytest.raises(InvalidInput):
            read_anchor(wrong)
