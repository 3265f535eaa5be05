"""What every route must say of itself."""

import pytest
from litestar.routes import HTTPRoute

from rag.api.access import PUBLIC_OPT, Cost
from rag.api.idempotency import OPT
from rag.app import create_app
from rag.settings import Settings


@pytest.fixture(scope="module")
def handlers(tmp_path_factory):
    """The handlers that want a key, by method and path."""
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))
    return {
        (method, route.path_format): handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if not handler.opt.get(PUBLIC_OPT) and method != "OPTIONS"
    }


def test_every_post_says_what_becomes_of_an_idempotency_key(handlers):
    posts = {path: handler for (method, path), handler in handlers.items() if method == "POST"}
    assert len(posts) >= 7
    unsaid = [
        path for path, handler in posts.items() if handler.opt.get(OPT) not in {"replayed", "shown once", "exempt"}
    ]
    assert unsaid == []


def test_only_what_changes_nothing_is_exempt(handlers):
    """Add a route here with the reason why doing it twice does no harm."""
    exempt = {path for (_, path), handler in handlers.items() if handler.opt.get(OPT) == "exempt"}
    assert exempt == {"/v1/search"}  # reads only


def test_whatever_is_not_read_says_what_it_costs(handlers):
    unsaid = [call for call, handler in handlers.items() if call[0] != "GET" and "cost" not in handler.opt]
    assert unsaid == []
    free = [call for call, handler in handlers.items() if call[0] != "GET" and handler.opt["cost"] <= Cost.READ]
    assert free == [], "what writes or searches costs more than reading a record"
