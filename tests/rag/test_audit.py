from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec

from rag.audit import CONTROL, SYSTEM, Act, Actor, Event, Recorded, Resource, actor_of, audit_line, chain_name, to_ocsf
from rag.domain import TenantId
from rag.tenancy import Operator, Principal


def test_each_act_has_a_name_and_a_class_of_its_own():
    labels = [act.label for act in Act]
    assert len(set(labels)) == len(labels)
    assert {act.class_uid for act in Act} <= {2004, 3001, 3002, 3004, 3006, 6002, 6003, 6005}


def test_an_event_in_the_words_of_ocsf():
    by = Actor(type="operator", key_id=UUID(int=7), ip="10.0.0.1", request_id="r-1")
    event = Event(act=Act.KEY_REVOKE, resource=Resource("key", "k"), detail={"kind": "secret"})
    assert to_ocsf(event, by) == {
        "category_uid": 3,
        "class_uid": 3001,
        "activity_id": 5,
        "activity_name": "key.revoke",
        "type_uid": 300105,
        "severity_id": 1,
        "status_id": 1,
        "metadata": {
            "version": "1.3.0",
            "product": {"name": "Cloister"},
            "event_code": "key.revoke",
            "correlation_uid": "r-1",
        },
        "actor": {"user": {"type": "operator", "type_id": 2, "credential_uid": str(UUID(int=7))}},
        "src_endpoint": {"ip": "10.0.0.1"},
        "resources": [{"type": "key", "uid": "k"}],
        "unmapped": {"kind": "secret"},
    }


def test_what_failed_says_so_and_what_is_unknown_is_left_out():
    found = to_ocsf(Event(act=Act.SERVICE_START, outcome="failure"), SYSTEM)
    assert found["status_id"] == 2
    assert not {"src_endpoint", "resources", "unmapped"} & set(found)


def test_an_actor_is_the_key_and_the_person_not_the_request():
    key = uuid4()
    asker = Principal(
        tenant=TenantId(uuid4()), slug="a", key_id=key, kind="secret", scopes=frozenset(), user="mia@example"
    )
    first, second = (actor_of(asker, ip=ip, request_id=ip) for ip in ("1", "2"))
    assert first != second
    assert first.identity == second.identity == f"key:{key}:mia@example"
    assert actor_of(Operator(key)).identity == f"operator:{key}"
    assert Actor(type="local", user="mia").identity == "local:mia"
    assert actor_of(None).identity == "system"


def test_a_line_holds_the_event_to_the_byte():
    text = '{"b":  1, "a": "ü"}'
    recorded = Recorded(sequence=3, occurred_at=datetime.now(UTC), previous_hash=b"\1", hash=b"\2", event=text)
    line = msgspec.json.encode(audit_line(CONTROL, None, recorded)).decode()
    assert text in line
    assert msgspec.json.decode(line)["chain"] == chain_name(CONTROL) == "control"
