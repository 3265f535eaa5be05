import msgspec

from rag.audit import CONTROL
from rag.keys import generate_key
from rag.store.audit import read_chain
from rag.store.keys import revoke_key


async def events_of(services, chain):
    return [msgspec.json.decode(found.event) async for found in read_chain(services.database, chain)]


async def test_a_refused_route_is_counted_for_the_key_that_asked(client, house, services):
    for _ in range(3):
        await client.problem("GET", "/v1/jobs", 403, "forbidden", key=house.search_key)
    await client.problem("GET", "/v1/admin/tenants", 403, "forbidden", key=house.search_key)
    await services.incidents.flush()
    found = [event for event in await events_of(services, house.tenant) if event["status_id"] == 2]
    assert [(event["resources"][0]["uid"], event["unmapped"]["count"]) for event in found] == [
        ("/v1/jobs", 3),
        ("/v1/admin/tenants", 1),
    ]


async def test_an_operators_refusal_is_in_the_control_chain(client, operator_key, services):
    await client.problem("GET", "/v1/jobs", 403, "forbidden", key=operator_key)
    await services.incidents.flush()
    assert (await events_of(services, CONTROL))[-1]["activity_name"] == "access.forbidden"


async def test_a_revoked_key_is_recognised(client, house, services):
    async with services.database.tenant(house.tenant) as connection:
        await revoke_key(connection, house.tenant, house.principal.key_id)
    sent = (house.key, generate_key("secret"), "not a key")
    for key in sent:
        await client.problem("GET", "/v1/jobs", 401, "unauthenticated", key=key)
    await client.problem("GET", "/v1/jobs", 401, "unauthenticated")
    await services.incidents.flush()
    found = [event for event in await events_of(services, house.tenant) if event["status_id"] == 2]
    assert [(event["activity_name"], event["unmapped"]["count"]) for event in found] == [("access.unauthenticated", 1)]
    assert house.key not in str(found)


async def test_what_is_answered_leaves_nothing(client, house, services):
    before = len(await events_of(services, house.tenant))
    await client.call("GET", "/v1/jobs", key=house.key)
    await client.problem("GET", "/v1/nowhere", 404, "not_found", key=house.key)
    await services.incidents.flush()
    assert len(await events_of(services, house.tenant)) == before
