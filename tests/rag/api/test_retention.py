FOREVER = {"answers_days": 0, "jobs_days": 30, "versions_days": 90}


async def test_an_operator_sets_how_long_a_tenant_keeps_things(client, operator_key, house):
    path = f"/v1/admin/tenants/{house.slug}"
    body = {"retention": {"answers_days": 7, "jobs_days": 0}, "limits": {"key_units": 60}}
    changed = (await client.call("PATCH", path, key=operator_key, json=body)).json()
    assert changed["slug"] == house.slug
    assert changed["retention"] == {"answers_days": 7, "jobs_days": 0, "versions_days": None}
    assert changed["limits"]["key_units"] == 60
    assert (await client.call("PATCH", path, key=operator_key, json={})).json() == changed
    assert (await client.call("GET", path, key=operator_key)).json() == changed


async def test_a_tenant_sets_its_own_and_nobody_elses(client, house, other):
    body = {"answers_days": 0}
    changed = (await client.call("PATCH", "/v1/retention", key=house.key, json=body)).json()
    assert changed["in_force"] == FOREVER
    assert (await client.call("GET", "/v1/retention", key=house.key)).json() == changed
    theirs = (await client.call("GET", "/v1/retention", key=other.key)).json()
    assert theirs["chosen"] == {"answers_days": None, "jobs_days": None, "versions_days": None}
    back = (await client.call("PATCH", "/v1/retention", key=house.key, json={"answers_days": None})).json()
    assert back == theirs


async def test_days_that_are_none_are_refused(client, operator_key, house):
    for days in (-1, 36_501, 1.5, "7"):
        body = {"retention": {"answers_days": days}}
        path = f"/v1/admin/tenants/{house.slug}"
        found = await client.problem("PATCH", path, 422, "invalid_input", key=operator_key, json=body)
        assert found["errors"][0]["pointer"] == "/retention/answers_days"
    await client.problem("PATCH", "/v1/admin/tenants/none", 404, "not_found", key=operator_key, json={"retention": {}})
