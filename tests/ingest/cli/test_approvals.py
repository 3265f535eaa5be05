import pytest

from rag.errors import ApprovalRequired, Forbidden, Unauthenticated


@pytest.fixture
def keys(cloister):
    """Two operators', of whom neither is the account that runs the tests."""
    return [cloister("key create --kind operator").stdout.strip() for _ in range(2)]


def refused(cloister, line, kind, **more):
    error = cloister(line, status=-1, **more).exception
    assert isinstance(error, kind), error
    return error


def test_one_operator_asks_another_grants_and_the_first_deletes(cloister, keys, in_json):
    cloister("tenant create acme")
    first, second = keys
    approval = refused(cloister, "tenant delete acme --yes", ApprovalRequired, key=first).approval
    (waiting,) = in_json(cloister("approval list --state pending --json"))["data"]
    assert (waiting["approval_id"], waiting["act"]) == (str(approval), "tenant.delete")
    refused(cloister, f"approval grant {approval}", Forbidden, key=first)
    granted = in_json(cloister(f"approval grant {approval} --json", key=second))
    assert granted["state"] == "granted"
    refused(cloister, f"tenant delete acme --yes --approval {approval}", ApprovalRequired, key=second)
    cloister(f"tenant delete acme --yes --approval {approval}", key=first)
    assert "used" in cloister("approval list").stdout


def test_without_a_key_the_account_of_the_system_acts(cloister, keys, in_json):
    cloister("tenant create acme")
    approval = refused(cloister, "tenant delete acme --yes", ApprovalRequired).approval
    (asked,) = in_json(cloister("approval list --json"))["data"]
    assert asked["requested_by"].startswith("local:")
    refused(cloister, f"approval grant {approval}", Forbidden)
    cloister(f"approval deny {approval}")
    cloister(f"approval grant {approval} --operator-key {keys[0]}", status=-1)


def test_the_option_is_the_operator_too(cloister, keys, in_json):
    cloister("tenant create acme")
    approval = refused(cloister, "tenant delete acme --yes", ApprovalRequired).approval
    granted = in_json(cloister(f"approval grant {approval} --operator-key {keys[0]} --json"))
    assert granted["decided_by"].startswith("operator:")


def test_a_key_that_is_no_operators_is_refused(cloister):
    cloister("tenant create acme")
    key = cloister("key create --tenant acme").stdout.strip()
    for wrong in (key, "nonsense"):
        refused(cloister, "tenant list", Unauthenticated, key=wrong)


def test_off_is_said(cloister, monkeypatch, in_json):
    assert in_json(cloister("approval list --json"))["mode"] == "required", "DATABASE_URL is set"
    monkeypatch.setenv("CLOISTER_APPROVALS", "off")
    listed = cloister("approval list --json")
    assert in_json(listed)["mode"] == "off"
    assert "OFF" in listed.stderr
    cloister("tenant create acme")
    cloister("tenant delete acme --yes")
