async def test_answers_are_counted_by_day_and_person_and_by_no_other_tenant(client, house, other):
    await house.ingest({"returns": "A zebrafork can be returned within 41 days of delivery."})
    assert (await client.call("GET", "/v1/usage", key=house.key)).json() == {"data": [], "truncated": False}
    for question in ("How many days do I have to return a zebrafork?", "Who painted the ceiling of the chapel?"):
        asked = await client.call("POST", "/v1/answers", key=house.key, json={"question": question})
        assert asked.status_code == 200
    (line,) = (await client.call("GET", "/v1/usage", key=house.key)).json()["data"]
    assert (line["answers"], line["answered"], line["user"], line["input_tokens"]) == (2, 1, None, 0)
    assert (await client.call("GET", "/v1/usage", key=other.key)).json()["data"] == []


async def test_days_are_bounded(client, house):
    for days in ("0", "367", "many"):
        await client.problem("GET", f"/v1/usage?days={days}", 422, "invalid_input", key=house.key)
