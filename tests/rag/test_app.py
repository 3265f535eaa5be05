import httpx
import msgspec
import pytest

from rag.app import create_app
from rag.errors import SetupError
from rag.services import Services


async def test_an_application_opens_its_services_and_closes_them(settings):
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloister.test") as client:
        async with app.lifespan():
            opened = app.state.services
            assert isinstance(opened, Services)
            assert (await client.get("/health/ready")).status_code == 200
        assert opened.database.pool.closed


async def test_open_services_are_used_and_left_open(services):
    app = create_app(services=services)
    async with app.lifespan():
        assert app.state.services is services
    assert not services.database.pool.closed


async def test_an_application_without_a_database_does_not_start(settings):
    app = create_app(msgspec.structs.replace(settings, database_url=None))
    with pytest.RaisesGroup(SetupError):  # litestar's lifespan is a task group
        async with app.lifespan():
            pass
