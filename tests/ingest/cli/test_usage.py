import json


def test_use_is_shown_and_is_empty_where_nobody_asked(cli):
    cli("tenant", "create", "acme")
    assert json.loads(cli("usage", "--tenant", "acme", "--json").stdout) == []
    assert "of them refused" in cli("usage", "--tenant", "acme").stdout
