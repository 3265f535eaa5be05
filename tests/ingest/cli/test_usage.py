def test_use_is_shown_and_is_empty_where_nobody_asked(cloister, in_json):
    cloister("tenant create acme")
    assert in_json(cloister("usage --tenant acme --json")) == []
    assert "of them refused" in cloister("usage --tenant acme").stdout
    cloister("usage --tenant acme --days 0", status=2)
