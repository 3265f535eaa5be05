PATH = "/v1/admin/embedding-spaces"


async def test_spaces_are_listed_with_who_is_active_on_them(client, house, operator_key):
    await house.ingest({"a": "The zebrafork stands in the hall."})
    page = (await client.call("GET", PATH, key=operator_key)).json()
    (space,) = page["data"]
    assert (space["space"], space["tenants"], space["chunks"], space["embedded"]) == ("minilm_l6_v2", ["acme"], 1, 1)
    found = (await client.call("POST", "/v1/search", key=house.key, json={"query": "zebrafork"})).json()
    assert found["embedding_space"] == space["space"]


async def test_a_space_is_activated_for_one_or_for_all(client, house, operator_key):
    for body in ({}, {"tenant": "acme"}):
        done = await client.call("POST", f"{PATH}/minilm_l6_v2/activate", key=operator_key, json=body)
        assert (done.status_code, done.json()) == (200, {"space": "minilm_l6_v2", "tenants": []})


async def test_what_is_not_there(client, house, operator_key):
    await client.problem("POST", f"{PATH}/none/activate", 404, "not_found", key=operator_key, json={})
    path, body = f"{PATH}/minilm_l6_v2/activate", {"tenant": "none"}
    await client.problem("POST", path, 404, "not_found", key=operator_key, json=body)
