import asyncio
from uuid import UUID

import httpx
import psycopg
import pytest
from litestar import Response, post
from litestar.response import Stream

from rag.api import idempotency as module
from rag.api.access import allow
from rag.api.idempotency import REPLAYED
from rag.app import create_app
from rag.domain import Scope
from rag.errors import DatabaseUnavailable
from rag.store import idempotency as store
from rag.store.keys import create_key
from rag.store.tenants import delete_tenant
from tests.rag.api.conftest import Client

TEXT = "# Repairs\n\nRepairs of a zebrafork are free of charge for three years."
QUESTION = "How long are repairs of a zebrafork free of charge?"


async def ask(client, key, idempotency_key, question=QUESTION, **more):
    headers = {"Idempotency-Key": idempotency_key}
    return await client.call("POST", "/v1/answers", key=key, json={"question": question, **more}, headers=headers)


async def make(client, key, idempotency_key, name="new"):
    headers = {"Idempotency-Key": idempotency_key}
    return await client.call("POST", "/v1/collections", key=key, json={"name": name}, headers=headers)


async def records(house):
    async with house.services.database.tenant(house.tenant) as connection:
        return await (await connection.execute("SELECT * FROM idempotency_records")).fetchall()


async def answers(house):
    async with house.services.database.tenant(house.tenant) as connection:
        return await (await connection.execute("SELECT answer_id FROM answers")).fetchall()


@pytest.fixture
async def trial(services):
    """Calls an application with a route that does what the test says; it counts how often it is done."""
    app = create_app(services=services)
    done: list[str] = []
    outcomes: list[object] = []

    @post("/v1/trial", opt={**allow(Scope.SEARCH), **REPLAYED}, status_code=201)
    async def act() -> Response:
        done.append("done")
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    app.register(act)
    async with Client(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://c.test"
    ) as client:

        async def call(key, *will):
            outcomes[:] = will
            return await client.call("POST", "/v1/trial", key=key, headers={"Idempotency-Key": "k"})

        call.done = done
        yield call


async def test_the_same_request_is_answered_again_and_not_done_again(client, house):
    await house.ingest({"a": TEXT})
    first = await ask(client, house.key, "k")
    assert first.json()["status"] == "answered"
    again = await ask(client, house.key, "k")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert {"ratelimit", "x-content-type-options"} <= set(again.headers)
    assert "idempotency-replayed" not in first.headers
    assert len(await answers(house)) == 1


async def test_what_was_made_is_told_with_its_place(client, house):
    first, again = await make(client, house.key, "k"), await make(client, house.key, "k")
    assert first.status_code == again.status_code == 201
    assert again.headers["location"] == first.headers["location"] == "/v1/collections/new"
    assert again.json() == first.json()


async def test_without_a_key_each_is_a_request_of_its_own(client, house):
    body = {"json": {"name": "new"}, "key": house.key}
    assert (await client.call("POST", "/v1/collections", **body)).status_code == 201
    await client.problem("POST", "/v1/collections", 409, "conflict", **body)
    assert await records(house) == []


async def test_another_request_under_the_same_key_is_refused(client, house):
    assert (await make(client, house.key, "k")).status_code == 201
    headers = {"Idempotency-Key": "k"}
    for path, body in (("/v1/collections", {"name": "else"}), ("/v1/answers", {"question": "x"})):
        await client.problem("POST", path, 422, "idempotency_key_reused", key=house.key, json=body, headers=headers)


async def test_another_tenant_and_another_key_of_the_same_are_not_meant(client, house, other, services):
    assert (await make(client, house.key, "k")).status_code == 201
    assert (await make(client, other.key, "k")).headers.get("idempotency-replayed") is None
    async with services.database.tenant(house.tenant) as connection:
        second, _ = await create_key(connection, house.tenant, scopes=list(Scope), groups=house.principal.groups)
    assert (await make(client, second, "k", name="else")).status_code == 201


async def test_of_eight_at_once_one_is_done(client, house):
    await house.ingest({"a": TEXT})
    found = await asyncio.gather(*(ask(client, house.key, "k") for _ in range(8)))
    assert {response.status_code for response in found} <= {200, 409}
    assert len({response.json()["id"] for response in found if response.status_code == 200}) == 1
    for response in found:
        if response.status_code == 409:
            assert response.json()["code"] == "request_in_progress"
            assert int(response.headers["retry-after"]) >= 1
    assert len(await answers(house)) == 1
    assert (await ask(client, house.key, "k")).status_code == 200


@pytest.mark.parametrize("failure", [RuntimeError("x"), DatabaseUnavailable("x")])
async def test_a_failure_lets_the_key_go(trial, house, failure):
    assert (await trial(house.key, failure)).status_code >= 500
    assert await records(house) == []
    assert (await trial(house.key, Response({"n": 1}))).json() == {"n": 1}
    assert (await trial(house.key)).json() == {"n": 1}
    assert len(trial.done) == 2


async def test_a_refusal_lets_the_key_go(client, house):
    headers = {"Idempotency-Key": "k"}
    body = {"question": "x", "collections": ["later"]}
    await client.problem("POST", "/v1/answers", 404, "not_found", key=house.key, json=body, headers=headers)
    await client.call("POST", "/v1/collections", key=house.key, json={"name": "later"})
    assert (await ask(client, house.key, "k", "x", collections=["later"])).status_code == 200


async def test_a_caller_that_is_cut_off_lets_the_key_go(services, house):
    app = create_app(services=services)
    entered = asyncio.Event()

    @post("/v1/endless", opt={**allow(Scope.SEARCH), **REPLAYED})
    async def endless() -> None:
        entered.set()
        await asyncio.Event().wait()

    app.register(endless)
    async with Client(transport=httpx.ASGITransport(app), base_url="http://cloister.test") as client:
        headers = {"Idempotency-Key": "k"}
        call = asyncio.create_task(client.call("POST", "/v1/endless", key=house.key, headers=headers))
        await entered.wait()
        assert len(await records(house)) == 1
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert await records(house) == []


async def test_a_process_that_was_killed_holds_its_key_no_longer_than_its_lease(trial, house, monkeypatch):
    """What is left of a killed process is its record; here it is one whose lease has ended."""
    monkeypatch.setattr(store, "LEASE_S", -1)
    monkeypatch.setattr(module._Run, "_settle", lambda *_: asyncio.sleep(0))  # it never got so far
    assert (await trial(house.key, Response({"n": 1}))).status_code == 201
    monkeypatch.undo()
    assert (await trial(house.key, Response({"n": 2}))).json() == {"n": 2}
    assert (await trial(house.key)).json() == {"n": 2}


async def test_a_stream_is_passed_on_and_not_kept(trial, house):
    async def lines():
        yield b"1\n"
        yield b"2\n"

    for _ in range(2):
        assert (await trial(house.key, Stream(lines()))).content == b"1\n2\n"
    assert len(trial.done) == 2
    assert await records(house) == []


async def test_an_answer_that_is_too_large_is_not_kept_and_not_done_again(trial, house, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BODY_BYTES", 10)
    assert (await trial(house.key, Response("x" * 100))).status_code == 201
    again = await trial(house.key)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert len(trial.done) == 1


async def test_an_answer_is_kept_as_it_was_given(trial, house):
    response = await trial(house.key, Response({"n": 1}))
    assert response.status_code == 201
    (record,) = await records(house)
    assert (record["status"], bytes(record["body"])) == (201, b'{"n":1}')


@pytest.mark.parametrize("sent", ["", " ", "two words", "x" * 256, "tab\t", "ä".encode()])
async def test_a_key_that_is_none_is_refused(client, house, sent):
    headers = {"Idempotency-Key": sent}
    body = {"name": "new"}
    found = await client.problem(
        "POST", "/v1/collections", 422, "invalid_input", key=house.key, json=body, headers=headers
    )
    assert found["errors"][0]["pointer"] == "/Idempotency-Key"
    assert await records(house) == []


async def test_two_keys_are_none(client, house):
    headers = [("Authorization", f"Bearer {house.key}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await client.request("POST", "/v1/collections", headers=headers, json={"name": "new"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


async def test_the_longest_and_the_oddest_key_will_do(client, house):
    for number, key in enumerate(["x" * 255, "~!\"'\\;--%00{}", "k"]):
        first = await make(client, house.key, key, name=f"c{number}")
        assert (first.status_code, (await make(client, house.key, key, name=f"c{number}")).json()) == (
            201,
            first.json(),
        )


async def test_a_body_that_is_not_json_is_not_taken_with_a_key(client, house):
    headers = {"Idempotency-Key": "k", "Content-Type": "application/x-ndjson"}
    found = await client.problem(
        "POST", "/v1/collections", 422, "invalid_input", key=house.key, content=b"{}\n", headers=headers
    )
    assert found["errors"][0]["pointer"] == "/Idempotency-Key"


async def test_a_search_looks_at_no_key(client, house):
    for text in ("x", "y"):
        headers = {"Idempotency-Key": "k"}
        response = await client.call("POST", "/v1/search", key=house.key, json={"query": text}, headers=headers)
        assert (response.status_code, "idempotency-replayed" in response.headers) == (200, False)
    assert await records(house) == []


async def test_who_may_not_call_the_route_is_not_answered_from_what_was_kept(client, house):
    await make(client, house.key, "k")
    await client.problem(
        "POST", "/v1/collections", 403, "forbidden", key=house.search_key, json={"name": "new"},
        headers={"Idempotency-Key": "k"},
    )  # fmt: skip


async def test_a_key_whose_groups_changed_gets_an_answer_of_its_own(client, house, services):
    """The record is bound to all that the credential may; what it could read before is not given to it again."""
    await house.ingest({"a": TEXT}, groups=["staff"])
    async with services.database.tenant(house.tenant) as connection:
        key, key_id = await create_key(connection, house.tenant, scopes=list(Scope), groups=["staff"])
    assert (await ask(client, key, "k")).json()["status"] == "answered"
    async with services.database.tenant(house.tenant) as connection:
        await connection.execute(
            "UPDATE api_keys SET groups = '{}' WHERE tenant_id = %s AND key_id = %s", (house.tenant, key_id)
        )
    services.authenticator._known._entries.clear()
    again = await ask(client, key, "k")
    assert again.json()["status"] == "refused"
    assert "three years" not in again.text


async def test_a_document_that_was_closed_or_deleted_is_not_quoted_again(client, house):
    await house.ingest({"a": TEXT})
    assert (await ask(client, house.key, "k")).json()["status"] == "answered"
    await house.ingest({"a": TEXT}, groups=["staff"])
    again = await ask(client, house.key, "k")
    assert (again.status_code, again.json()["status"]) == (200, "refused")

    await house.ingest({"b": TEXT})
    assert (await ask(client, house.key, "l")).json()["status"] == "answered"
    await client.call("DELETE", "/v1/collections/kb/documents/b", key=house.key)
    assert (await ask(client, house.key, "l")).json()["status"] == "refused"


# --- operators


PATH = "/v1/admin/tenants"


async def test_a_tenant_is_made_once(client, operator_key):
    headers = {"Idempotency-Key": "k"}
    made = [await client.call("POST", PATH, key=operator_key, json={"slug": "corp"}, headers=headers) for _ in range(2)]
    assert [response.status_code for response in made] == [201, 201]
    assert made[0].json() == made[1].json()
    await client.problem("POST", PATH, 409, "conflict", key=operator_key, json={"slug": "corp"})


async def test_a_key_that_was_made_is_shown_once_and_kept_nowhere(client, operator_key, house, admin_database):
    headers = {"Idempotency-Key": "k"}
    path = f"{PATH}/{house.slug}/keys"
    made = await client.call("POST", path, key=operator_key, json={"name": "n"}, headers=headers)
    assert made.json()["key"].startswith("clo_sk_")
    found = await client.problem("POST", path, 409, "conflict", key=operator_key, json={"name": "n"}, headers=headers)
    assert "shown only once" in found["detail"]
    listed = (await client.call("GET", path, key=operator_key)).json()["data"]
    assert len([key for key in listed if key["name"] == "n"]) == 1
    assert made.json()["key"] not in admin_database("SELECT t::text FROM cloister.idempotency_records t")


async def test_a_tenants_records_go_with_it(client, operator_key, services, house, admin_database):
    await make(client, house.key, "k")
    await client.call("POST", PATH, key=operator_key, json={"slug": "corp"}, headers={"Idempotency-Key": "k"})
    async with services.database.control() as control:
        await delete_tenant(control, house.tenant)
    left = admin_database("SELECT tenant_id::text FROM cloister.idempotency_records")
    assert str(house.tenant) not in left
    assert UUID(left)


@pytest.fixture
def admin_database(settings, servers):
    """All that a statement gives as the superuser, as text."""
    name = settings.secret("database_url").split("/")[-1].split("?")[0]
    url = servers.admin_url.replace("/postgres?", f"/{name}?")

    def run(text):
        with psycopg.connect(url) as admin:
            return "\n".join(row[0] for row in admin.execute(text).fetchall())

    return run
