import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from rag.app import create_app
from rag.audit import CONTROL
from rag.errors import SetupError
from rag.services import Services
from rag.store.audit import read_chain


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


@pytest.mark.parametrize("mode", ["required", "off"])
async def test_under_which_rules_it_serves_is_recorded_and_what_is_off_is_logged(settings, mode):
    app = create_app(msgspec.structs.replace(settings, approvals=mode))
    with capture_logs() as lines:
        async with app.lifespan():
            database = app.state.services.database
            (start,) = [msgspec.json.decode(entry.event) async for entry in read_chain(database, CONTROL)]
    assert (start["activity_name"], start["unmapped"]["approvals"]) == ("service.start", mode)
    assert ("approvals_off" in [line["event"] for line in lines]) == (mode == "off")
