from uuid import uuid4

from rag.domain import Scope
from rag.store.keys import create_key

QUESTION = "How many days do I have to return a zebrafork?"
DOCUMENT = {
    "returns": "# Returns\n\nA zebrafork can be returned within 41 days of delivery when it is unused. "
    "Refunds reach the card in six working days.\n"
}


async def ask(client, key, *, headers=None, **body):
    sent = {"question": QUESTION, **body}
    response = await client.call("POST", "/v1/answers", key=key, json=sent, headers=headers or {})
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_answer_is_cited_and_can_be_read_again(client, house):
    await house.ingest(DOCUMENT)
    answer = await ask(client, house.key, headers={"X-Request-ID": "r-7"})
    assert answer["status"] == "answered"
    assert "41" in answer["text"]
    assert answer["request_id"] == "r-7"
    assert all(sentence["citations"] for sentence in answer["sentences"])
    again = await client.call("GET", f"/v1/answers/{answer['id']}", key=house.key)
    assert again.json() == answer


async def test_a_refusal_is_a_200_too(client, house):
    answer = await ask(client, house.key)
    assert (answer["status"], answer["text"], answer["refusal"]["code"]) == ("refused", "", "no_results")


async def test_another_tenants_answer_is_one_that_is_not_there(client, house, other):
    await house.ingest(DOCUMENT)
    answer = await ask(client, house.key)
    told = [
        await client.problem("GET", f"/v1/answers/{name}", 404, "not_found", key=other.key)
        for name in (answer["id"], uuid4())
    ]
    assert told[0]["detail"] == told[1]["detail"]


async def test_an_answer_from_a_document_that_the_reader_may_not_see_is_not_there(client, services, house):
    await house.ingest(DOCUMENT, groups=["leads"])
    async with services.database.tenant(house.tenant) as connection:
        lead, _ = await create_key(connection, house.tenant, scopes=[Scope.ANSWER], groups=["leads"])
        staff, _ = await create_key(connection, house.tenant, scopes=[Scope.ANSWER], groups=["staff"])
    answer = await ask(client, lead)
    assert answer["status"] == "answered"
    await client.problem("GET", f"/v1/answers/{answer['id']}", 404, "not_found", key=staff)
    assert (await ask(client, staff))["status"] == "refused"


async def test_a_question_can_be_kept_to_collections_and_filters(client, house):
    await house.ingest(DOCUMENT, metadata={"brand": "acme"})
    assert (await ask(client, house.key, filters={"brand": "acme"}, collections=["kb"]))["citations"]
    assert (await ask(client, house.key, filters={"brand": "bolt"}))["status"] == "refused"
    assert (await ask(client, house.key, collections=[]))["status"] == "refused"


async def test_a_field_that_is_wrong_is_pointed_at(client, house):
    wrong = [
        ({}, "/question"),
        ({"question": " "}, "/question"),
        ({"question": "x" * 2001}, "/question"),
        ({"question": "x", "max_citations": 0}, "/max_citations"),
        ({"question": "x", "max_citations": 11}, "/max_citations"),
        ({"question": "x", "filters": {"$not": 1}}, "/filters/$not"),
        ({"question": "x", "stream": True}, "/stream"),
    ]
    for body, pointer in wrong:
        found = await client.problem("POST", "/v1/answers", 422, "invalid_input", key=house.key, json=body)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body
