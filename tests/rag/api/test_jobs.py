from uuid import uuid4

PATH = "/v1/jobs"


async def job(client, key, job_id):
    response = await client.call("GET", f"{PATH}/{job_id}", key=key)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_job_says_how_far_it_is(client, house):
    receipt = await house.put("a", "# A\n\nThe zebrafork.")
    waiting = await job(client, house.key, receipt.job_id)
    assert (waiting["status"], waiting["progress"]["stage"], waiting["error"]) == ("queued", "queued", None)
    await house.ingest({})
    done = await job(client, house.key, receipt.job_id)
    assert (done["status"], done["attempts"]) == ("succeeded", 1)
    assert done["progress"]["done"] == done["progress"]["total"] > 0
    assert done["finished_at"] > done["created_at"]


async def test_a_job_is_cancelled_and_queued_again(client, house):
    receipt = await house.put("a", "# A\n\nThe zebrafork.")
    path = f"{PATH}/{receipt.job_id}"
    cancelled = await client.call("POST", f"{path}/cancel", key=house.key)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    await client.problem("POST", f"{path}/cancel", 409, "conflict", key=house.key)
    retried = await client.call("POST", f"{path}/retry", key=house.key)
    assert (retried.status_code, retried.json()["status"]) == (200, "queued")
    await client.problem("POST", f"{path}/retry", 409, "conflict", key=house.key)
    await house.ingest({})
    assert (await job(client, house.key, receipt.job_id))["status"] == "succeeded"


async def test_the_list_is_paged_newest_first_and_kept_to_a_state(client, house):
    receipts = [await house.put(name, "The zebrafork.") for name in ("a", "b", "c")]
    await client.call("POST", f"{PATH}/{receipts[1].job_id}/cancel", key=house.key)
    seen, params = [], {"limit": 1}
    while True:
        page = (await client.call("GET", PATH, key=house.key, params=params)).json()
        seen += [found["external_id"] for found in page["data"]]
        if not page["has_more"]:
            break
        params = {"limit": 1, "cursor": page["next_cursor"]}
    assert seen == ["c", "b", "a"]
    page = (await client.call("GET", PATH, key=house.key, params={"status": "cancelled"})).json()
    assert [found["external_id"] for found in page["data"]] == ["b"]


async def test_another_tenants_job_is_one_that_is_not_there(client, house, other):
    receipt = await house.put("a", "The zebrafork.")
    for method, suffix in (("GET", ""), ("POST", "/retry"), ("POST", "/cancel")):
        told = [
            await client.problem(method, f"{PATH}/{name}{suffix}", 404, "not_found", key=other.key)
            for name in (receipt.job_id, uuid4())
        ]
        assert told[0]["detail"] == told[1]["detail"]
    assert (await client.call("GET", PATH, key=other.key)).json()["data"] == []
    assert (await job(client, house.key, receipt.job_id))["status"] == "queued"


async def test_a_cursor_of_another_list_is_refused(client, house):
    for name in ("a", "b"):
        await client.call("POST", "/v1/collections", key=house.key, json={"name": name})
    page = (await client.call("GET", "/v1/collections", key=house.key, params={"limit": 1})).json()
    found = await client.problem(
        "GET", PATH, 422, "invalid_input", key=house.key, params={"cursor": page["next_cursor"]}
    )
    assert found["errors"][0]["pointer"] == "/cursor"
