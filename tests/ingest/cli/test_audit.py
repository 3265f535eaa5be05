import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import InvalidInput

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def acme(cloister):
    cloister("tenant create acme")
    for _ in range(3):
        cloister("key create --tenant acme")


def test_a_whole_trail_ends_with_0_and_prints_its_heads(cloister, acme, in_json):
    heads = cloister("audit verify").stdout.split()
    assert [head.split(":")[1] for head in heads] == ["1", "3"]
    assert heads[0].startswith("control:1:")
    (verdict,) = in_json(cloister("audit verify --tenant acme --json"))
    assert (verdict["tenant"], verdict["events"], verdict["fault_count"]) == ("acme", 3, 0)
    cloister(f"audit verify --expect {heads[0]} --expect {heads[1]}")


def test_a_changed_event_ends_with_1_and_is_named(cloister, acme, tamper):
    tamper("UPDATE cloister.audit_events SET event = replace(event, 'secret', 'public') WHERE sequence = 2")
    assert "event 2 is not what was hashed" in cloister("audit verify", status=1).stderr
    assert "event 2" not in cloister("audit verify --tenant control").stderr


def test_a_cut_tail_is_found_by_the_noted_heads(cloister, acme, tamper, tmp_path):
    noted = tmp_path / "heads"
    noted.write_text(cloister("audit verify").stdout)
    tamper("DELETE FROM cloister.audit_events WHERE sequence > 1")
    tamper(
        "UPDATE cloister.audit_chains c SET sequence = 1, hash = e.hash FROM cloister.audit_events e "
        "WHERE e.tenant_id = c.tenant_id"
    )
    cloister("audit verify")
    assert "event 3 was noted and is gone" in cloister(f"audit verify --expect-file {noted}", status=1).stderr


def test_what_is_no_head_is_said(cloister):
    assert isinstance(cloister("audit verify --expect nonsense", status=-1).exception, InvalidInput)


def test_the_export_can_be_checked_without_us(cloister, acme):
    exported = cloister("audit export")
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [(line["chain"] == "control", line["sequence"]) for line in lines] == [
        (True, 1),
        (False, 1),
        (False, 2),
        (False, 3),
    ]
    for line in lines:
        event = json.dumps(line["event"], ensure_ascii=False).encode()
        assert hashlib.sha256(bytes.fromhex(line["previous_hash"]) + event).hexdigest() == line["hash"]
        assert line["event"]["actor"]["user"]["type"] == "local"
        assert line["event"]["actor"]["user"]["name"]
    assert [head.split()[1] for head in exported.stderr.splitlines()] == cloister("audit verify").stdout.split()


def test_the_documented_check_passes_what_is_whole_and_names_what_is_not(cloister, acme):
    exported = cloister("audit export").stdout
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "audit.md").read_text("utf-8"), re.DOTALL)

    def check(text):
        return subprocess.run([sys.executable, "-c", program], input=text, text=True, capture_output=True, check=False)

    assert check(exported).returncode == 0
    lines = exported.splitlines()
    for broken in ([*lines[:1], *lines[2:3], *lines[1:2]], [line.replace("secret", "public") for line in lines]):
        assert check("\n".join(broken)).returncode == 1


def test_an_export_from_a_moment_on(cloister, acme):
    assert len(cloister("audit export --since 1h").stdout.splitlines()) == 4
    assert cloister("audit export --since 2999-01-01").stdout == ""
    cloister("audit export --since yesterday", status=2)


def test_a_deleted_tenants_chain_by_its_id(cloister, acme, in_json, monkeypatch):
    monkeypatch.setenv("CLOISTER_APPROVALS", "off")
    tenant = in_json(cloister("tenant show acme --json"))["tenant_id"]
    cloister("tenant delete acme --yes")
    acts = cloister(f"audit export --tenant {tenant}").stdout.splitlines()
    assert len(acts) == 5, "what it had, and the beginning and the end of its erasure"
