from rag.errors import ApprovalRequired, NotFound


def test_spaces_are_listed(cloister, in_json):
    cloister("tenant create acme")
    (space,) = in_json(cloister("space list --json"))
    assert (space["space"], space["tenants"], space["chunks"]) == ("minilm_l6_v2", ["acme"], 0)
    assert "all-MiniLM-L6-v2" in cloister("space list").stdout


def test_a_space_is_activated_with_an_approval_or_where_none_is_required(cloister, in_json, monkeypatch):
    cloister("tenant create acme")
    result = cloister("space activate minilm_l6_v2 --tenant acme --yes", status=-1)
    assert isinstance(result.exception, ApprovalRequired)
    monkeypatch.setenv("CLOISTER_APPROVALS", "off")
    done = in_json(cloister("space activate minilm_l6_v2 --yes --json"))
    assert done == {"space": "minilm_l6_v2", "tenants": []}
    assert isinstance(cloister("space activate none --yes", status=-1).exception, NotFound)
    cloister("space activate minilm_l6_v2", status=1)  # nobody said yes
