from rag.domain import Scope
from rag.store.keys import create_key

KB = "/v1/collections/kb/documents"


async def put(client, key, external_id, **body):
    return await client.call("PUT", f"{KB}/{external_id}", key=key, json=body or {"text": "The zebrafork."})


async def test_a_document_is_queued_and_its_job_named(client, house):
    response = await put(client, house.key, "a", markdown="# A", title="A", metadata={"n": 1}, groups=["x"])
    receipt = response.json()
    assert response.status_code == 202
    assert set(receipt) == {"document_id", "version", "job_id"}
    assert receipt["version"] == 1
    assert response.headers["location"] == f"/v1/jobs/{receipt['job_id']}"
    job = (await client.call("GET", response.headers["location"], key=house.key)).json()
    assert (job["status"], job["external_id"], job["document_id"]) == ("queued", "a", receipt["document_id"])


async def test_unchanged_content_is_a_200_without_a_job(client, house):
    await house.ingest({"a": "# A\n\nThe zebrafork."})
    response = await put(client, house.key, "a", markdown="# A\n\nThe zebrafork.")
    assert (response.status_code, response.json()["job_id"], response.json()["version"]) == (200, None, 1)
    assert "location" not in response.headers
    changed = await put(client, house.key, "a", markdown="# A\n\nAnother.")
    assert (changed.status_code, changed.json()["version"]) == (202, 2)


async def test_a_document_that_waits_already_is_the_same_job(client, house):
    first, second = [(await put(client, house.key, "a")).json() for _ in range(2)]
    assert first == second


async def test_a_document_is_read_and_deleted(client, house):
    await house.ingest({"a": "# A\n\nThe zebrafork."}, metadata={"n": 1}, groups=["x"], uri="https://example.test/a")
    found = (await client.call("GET", f"{KB}/a", key=house.key)).json()
    assert (found["external_id"], found["collection"], found["version"]) == ("a", "kb", 1)
    assert (found["metadata"], found["groups"], found["uri"]) == ({"n": 1}, ["x"], "https://example.test/a")
    gone = await client.call("DELETE", f"{KB}/a", key=house.key)
    assert (gone.status_code, gone.content) == (204, b"")
    for method, path in (("GET", f"{KB}/a"), ("DELETE", f"{KB}/a"), ("GET", f"{KB}/a/versions")):
        await client.problem(method, path, 404, "not_found", key=house.key)


async def test_versions_are_listed_newest_first_and_paged(client, house):
    for number in range(1, 4):
        await house.ingest({"a": f"# A\n\nThe zebrafork, number {number}."})
    seen, params = [], {"limit": 2}
    while True:
        page = (await client.call("GET", f"{KB}/a/versions", key=house.key, params=params)).json()
        seen += [(found["version"], found["serving"]) for found in page["data"]]
        if not page["has_more"]:
            break
        params = {"limit": 2, "cursor": page["next_cursor"]}
    assert seen == [(3, True), (2, False), (1, False)]


async def test_documents_are_paged_by_external_id(client, house):
    for name in ("c", "a", "b"):
        await put(client, house.key, name)
    first = (await client.call("GET", KB, key=house.key, params={"limit": 2})).json()
    assert [found["external_id"] for found in first["data"]] == ["a", "b"]
    rest = await client.call("GET", KB, key=house.key, params={"limit": 2, "cursor": first["next_cursor"]})
    assert [found["external_id"] for found in rest.json()["data"]] == ["c"]
    assert rest.json()["next_cursor"] is None


async def test_another_tenants_document_is_one_that_is_not_there(client, house, other):
    await house.ingest({"vault": "The vault opens at four."})
    for method in ("GET", "DELETE"):
        told = [
            await client.problem(method, f"{KB}/{name}", 404, "not_found", key=other.key) for name in ("vault", "none")
        ]
        assert told[0]["detail"].replace("vault", "none") == told[1]["detail"]
    await client.problem("GET", f"{KB}/vault/versions", 404, "not_found", key=other.key)
    assert (await client.call("GET", KB, key=other.key)).json()["data"] == []
    assert (await client.call("GET", f"{KB}/vault", key=house.key)).status_code == 200


async def test_a_reader_sees_what_its_groups_open_and_a_writer_all(client, services, house):
    await house.ingest({"open": "For all of the house."})
    await house.ingest({"closed": "For the leads of the house."}, groups=["leads"])
    async with services.database.tenant(house.tenant) as connection:
        leads, _ = await create_key(connection, house.tenant, scopes=[Scope.SEARCH], groups=["leads"])
        staff, _ = await create_key(connection, house.tenant, scopes=[Scope.SEARCH], groups=["staff"])
        writer, _ = await create_key(connection, house.tenant, scopes=[Scope.INGEST])
    for key, visible in ((leads, ["closed", "open"]), (staff, ["open"]), (writer, ["closed", "open"])):
        page = (await client.call("GET", KB, key=key)).json()
        assert [found["external_id"] for found in page["data"]] == visible
    for path in (f"{KB}/closed", f"{KB}/closed/versions"):
        assert (await client.call("GET", path, key=leads)).status_code == 200
        hidden = await client.problem("GET", path, 404, "not_found", key=staff)
        absent = await client.problem("GET", path.replace("closed", "none"), 404, "not_found", key=staff)
        assert hidden["detail"].replace("closed", "none") == absent["detail"]


async def test_a_collection_that_is_not_there(client, house):
    path = "/v1/collections/none/documents/a"
    await client.problem("PUT", path, 404, "not_found", key=house.key, json={"text": "x"})
    await client.problem("GET", path, 404, "not_found", key=house.key)
