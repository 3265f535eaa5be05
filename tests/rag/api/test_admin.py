from uuid import uuid4

PATH = "/v1/admin/tenants"


async def make_tenant(client, key, slug, **more):
    response = await client.call("POST", PATH, key=key, json={"slug": slug, **more})
    assert response.status_code == 201, response.text
    return response


async def make_key(client, key, slug, **body):
    response = await client.call("POST", f"{PATH}/{slug}/keys", key=key, json=body)
    assert response.status_code == 201, response.text
    return response.json()


async def test_a_tenant_is_made_read_and_deleted(client, operator_key):
    made = await make_tenant(client, operator_key, "corp", name="Corp Ltd")
    assert made.headers["location"] == f"{PATH}/corp"
    assert (made.json()["slug"], made.json()["name"], made.json()["documents"]) == ("corp", "Corp Ltd", 0)
    assert (await client.call("GET", f"{PATH}/corp", key=operator_key)).json() == made.json()
    assert (await make_tenant(client, operator_key, "other")).json()["name"] == "other"
    await client.problem("POST", PATH, 409, "conflict", key=operator_key, json={"slug": "corp"})
    assert (await client.call("DELETE", f"{PATH}/corp", key=operator_key)).status_code == 204
    for method in ("GET", "DELETE"):
        await client.problem(method, f"{PATH}/corp", 404, "not_found", key=operator_key)


async def test_a_tenants_limits_are_changed_one_by_one(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    none = {"tenant_units": None, "key_units": None, "user_units": None, "concurrency": None}

    async def change(**limits):
        response = await client.call("PATCH", f"{PATH}/corp", key=operator_key, json={"limits": limits})
        assert response.status_code == 200, response.text
        assert response.json() == (await client.call("GET", f"{PATH}/corp", key=operator_key)).json()
        return response.json()["limits"]

    assert await change() == none
    assert await change(key_units=6000, concurrency=0) == {**none, "key_units": 6000, "concurrency": 0}
    assert await change(key_units=None, user_units=5) == {**none, "concurrency": 0, "user_units": 5}
    empty = await client.call("PATCH", f"{PATH}/corp", key=operator_key, json={})
    assert empty.json()["limits"]["user_units"] == 5


async def test_limits_that_are_none_are_refused(client, operator_key, house):
    for field, value in (("key_units", -1), ("key_units", 10_000_001), ("key_units", "9"), ("units", 1)):
        body = {"limits": {field: value}}
        found = await client.problem("PATCH", f"{PATH}/{house.slug}", 422, "invalid_input", key=operator_key, json=body)
        assert found["errors"][0]["pointer"] == f"/limits/{field}"
    body = {"limits": {"key_units": 1}}
    await client.problem("PATCH", f"{PATH}/nobody", 404, "not_found", key=operator_key, json=body)
    await client.problem("PATCH", f"{PATH}/{house.slug}", 403, "forbidden", key=house.key, json=body)


async def test_a_deleted_tenants_key_opens_nothing(client, operator_key, services):
    await make_tenant(client, operator_key, "corp")
    key = (await make_key(client, operator_key, "corp"))["key"]
    assert (await client.call("DELETE", f"{PATH}/corp", key=operator_key)).status_code == 204
    await client.problem("POST", "/v1/search", 401, "unauthenticated", key=key, json={"query": "x"})


async def test_a_key_is_shown_once_and_works(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    made = await make_key(client, operator_key, "corp", scopes=["manage", "ingest"], groups=["b", "a"], name="loader")
    assert made["key"].startswith("clo_sk_")
    assert (made["scopes"], made["groups"], made["name"]) == (["ingest", "manage"], ["a", "b"], "loader")
    assert (await client.call("GET", "/v1/jobs", key=made["key"])).status_code == 200

    listed = await client.call("GET", f"{PATH}/corp/keys", key=operator_key)
    assert made["key"] not in listed.text
    assert [found["key_id"] for found in listed.json()["data"]] == [made["key_id"]]
    assert made["key"].startswith(listed.json()["data"][0]["display"].rstrip("…"))


async def test_a_key_without_scopes_gets_those_of_its_kind(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    assert (await make_key(client, operator_key, "corp"))["scopes"] == ["answer", "search"]
    made = await make_key(client, operator_key, "corp", kind="publishable")
    assert (made["key"][:7], made["scopes"]) == ("clo_pk_", ["search"])
    body = {"kind": "publishable", "scopes": ["ingest"]}
    await client.problem("POST", f"{PATH}/corp/keys", 403, "forbidden", key=operator_key, json=body)


async def test_a_key_is_revoked(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    made = await make_key(client, operator_key, "corp")
    path = f"{PATH}/corp/keys/{made['key_id']}"
    assert (await client.call("DELETE", path, key=operator_key)).status_code == 204
    await client.problem("POST", "/v1/search", 401, "unauthenticated", key=made["key"], json={"query": "x"})
    listed = (await client.call("GET", f"{PATH}/corp/keys", key=operator_key)).json()["data"]
    assert listed[0]["revoked_at"] is not None
    await client.problem("DELETE", f"{PATH}/corp/keys/{uuid4()}", 404, "not_found", key=operator_key)


async def test_a_key_is_revoked_in_its_own_tenant_only(client, operator_key, house):
    await make_tenant(client, operator_key, "corp")
    path = f"{PATH}/corp/keys/{house.principal.key_id}"
    await client.problem("DELETE", path, 404, "not_found", key=operator_key)
    assert (await client.call("GET", "/v1/jobs", key=house.key)).status_code == 200


async def test_a_publishable_key_says_where_and_what_and_gives_its_signing_secret_once(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    body = {"kind": "publishable", "origins": ["https://Shop.example:443"], "collections": ["shop", "help"]}
    made = await make_key(client, operator_key, "corp", **body)
    assert (made["origins"], made["collections"]) == (["https://shop.example"], ["help", "shop"])
    assert made["signing_secret"].startswith("clo_ws_")
    assert len(made["signing_secret"]) >= 43
    bare = await make_key(client, operator_key, "corp", kind="publishable")
    assert (bare["origins"], bare["collections"]) == ([], None)
    assert bare["signing_secret"] != made["signing_secret"]
    assert (await make_key(client, operator_key, "corp"))["signing_secret"] is None
    listed = await client.call("GET", f"{PATH}/corp/keys", key=operator_key)
    assert "clo_ws_" not in listed.text
    assert "secret" not in {name for found in listed.json()["data"] for name in found}
    first = listed.json()["data"][0]
    assert (first["origins"], first["collections"]) == (made["origins"], made["collections"])


async def test_a_key_is_rotated(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    made = await make_key(client, operator_key, "corp", scopes=["search"], groups=["staff"], name="site")
    path = f"{PATH}/corp/keys/{made['key_id']}/rotate"
    response = await client.call("POST", path, key=operator_key, json={})
    assert response.status_code == 201, response.text
    successor = response.json()
    assert set(successor) == set(made)
    assert (successor["rotated_from"], successor["groups"], successor["name"]) == (made["key_id"], ["staff"], "site")
    for key in (made["key"], successor["key"]):
        response = await client.call("POST", "/v1/search", key=key, json={"query": "x"})
        assert response.status_code == 200
    await client.problem("POST", path, 409, "conflict", key=operator_key, json={})
    listed = (await client.call("GET", f"{PATH}/corp/keys", key=operator_key)).json()["data"]
    assert [found["expires_at"] for found in listed] == [successor["rotated_from_ends_at"], None]

    path = f"{PATH}/corp/keys/{successor['key_id']}/rotate"
    await client.problem("POST", path, 422, "invalid_input", key=operator_key, json={"overlap_s": -1})
    await client.problem("POST", path, 422, "invalid_input", key=operator_key, json={"overlap_s": 2_592_001})
    assert (await client.call("POST", path, key=operator_key, json={"overlap_s": 0})).status_code == 201


async def test_a_rotation_without_an_overlap_ends_the_key(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    made = await make_key(client, operator_key, "corp", kind="publishable")
    path = f"{PATH}/corp/keys/{made['key_id']}/rotate"
    successor = (await client.call("POST", path, key=operator_key, json={"overlap_s": 0})).json()
    await client.problem("POST", "/v1/search", 401, "unauthenticated", key=made["key"], json={"query": "x"})
    assert successor["signing_secret"].startswith("clo_ws_")


async def test_a_key_is_rotated_in_its_own_tenant_only(client, operator_key, house):
    await make_tenant(client, operator_key, "corp")
    for key_id in (house.principal.key_id, uuid4()):
        path = f"{PATH}/corp/keys/{key_id}/rotate"
        await client.problem("POST", path, 404, "not_found", key=operator_key, json={})


async def test_an_expired_key_opens_nothing(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    made = await make_key(client, operator_key, "corp", expires_at="2020-01-01T00:00:00Z")
    await client.problem("POST", "/v1/search", 401, "unauthenticated", key=made["key"], json={"query": "x"})


async def test_lists_are_paged(client, operator_key):
    for slug in ("c", "a", "b"):
        await make_tenant(client, operator_key, slug)
    made = [(await make_key(client, operator_key, "a"))["key_id"] for _ in range(3)]
    for path, name, wanted in ((PATH, "slug", ["a", "b", "c"]), (f"{PATH}/a/keys", "key_id", made)):
        seen, params = [], {"limit": 2}
        while True:
            page = (await client.call("GET", path, key=operator_key, params=params)).json()
            assert len(page["data"]) <= 2
            seen += [found[name] for found in page["data"]]
            if not page["has_more"]:
                break
            params = {"limit": 2, "cursor": page["next_cursor"]}
        assert seen == wanted


async def test_a_field_that_is_wrong_is_pointed_at(client, operator_key):
    await make_tenant(client, operator_key, "corp")
    wrong = [
        (PATH, {}, "/slug"),
        (PATH, {"slug": "Corp"}, "/slug"),
        (PATH, {"slug": "-a"}, "/slug"),
        (PATH, {"slug": "a\n"}, "/slug"),
        (PATH, {"slug": "a", "name": ""}, "/name"),
        (f"{PATH}/corp/keys", {"kind": "operator"}, "/kind"),
        (f"{PATH}/corp/keys", {"scopes": []}, "/scopes"),
        (f"{PATH}/corp/keys", {"scopes": ["root"]}, "/scopes/0"),
        (f"{PATH}/corp/keys", {"groups": [""]}, "/groups/0"),
        (f"{PATH}/corp/keys", {"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        (f"{PATH}/corp/keys", {"key": "clo_sk_mine"}, "/key"),
        (f"{PATH}/corp/keys", {"kind": "publishable", "origins": ["https://a", "null"]}, "/origins/1"),
        (f"{PATH}/corp/keys", {"kind": "publishable", "collections": []}, "/collections"),
        (f"{PATH}/corp/keys", {"kind": "publishable", "groups": ["*"]}, "/groups"),
        (f"{PATH}/corp/keys", {"origins": ["https://a.example"]}, "/origins"),
        (f"{PATH}/corp/keys", {"collections": ["kb"]}, "/collections"),
    ]
    for path, body, pointer in wrong:
        found = await client.problem("POST", path, 422, "invalid_input", key=operator_key, json=body)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body


async def test_a_tenant_that_is_not_there(client, operator_key):
    for method, path, body in (
        ("GET", f"{PATH}/none/keys", None),
        ("POST", f"{PATH}/none/keys", {}),
        ("DELETE", f"{PATH}/none/keys/{uuid4()}", None),
        ("POST", f"{PATH}/none/keys/{uuid4()}/rotate", {}),
    ):
        await client.problem(method, path, 404, "not_found", key=operator_key, json=body)
