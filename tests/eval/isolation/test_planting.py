import pytest

from eval.isolation.keyring import MARK
from eval.isolation.planting import planted, remove_estates
from eval.isolation.service import Service
from rag.errors import Conflict, SetupError
from rag.services import Services
from rag.store.keys import create_operator_key, list_operator_keys
from rag.store.probes import take_turn
from rag.store.tenants import create_tenant, list_tenants
from tests.eval.isolation.conftest import client_of

RUN = "zqbcdfghjkmnpqrtvw"


async def slugs(services: Services) -> list[str]:
    async with services.database.control() as control:
        return [found.slug for found in await list_tenants(control)]


async def test_what_a_killed_run_left_is_removed_and_nothing_else(services):
    async with services.database.control() as control:
        for slug, name in (
            (f"verify-isolation-{RUN}-alpha", MARK),
            (f"verify-isolation-{RUN}-beta", "a customer of that name"),
            ("verify-isolation-mine", MARK),
            ("acme", "Acme"),
        ):
            await create_tenant(control, slug, name=name)
        await create_operator_key(control, name=MARK)
        await create_operator_key(control, name="console")
    await remove_estates(services.database)
    assert set(await slugs(services)) == {"acme", f"verify-isolation-{RUN}-beta", "verify-isolation-mine"}
    async with services.database.control() as control:
        ended = {key.name: key.revoked_at is not None for key in await list_operator_keys(control)}
    assert ended == {MARK: True, "console": False}


async def test_one_check_at_a_time(services):
    async with client_of(services) as client, services.database.control() as turn:
        assert await take_turn(turn)
        with pytest.raises(Conflict, match="another verify-isolation is under way"):
            async with planted(services, Service(client), {}):
                pass


async def test_a_service_on_another_database_is_told_apart(services):
    import httpx

    refusing = httpx.MockTransport(lambda _: httpx.Response(401))
    async with httpx.AsyncClient(transport=refusing, base_url="http://elsewhere") as client:
        with pytest.raises(SetupError, match="does it serve the database"):
            async with planted(services, Service(client), {}):
                pass
    assert await slugs(services) == []
