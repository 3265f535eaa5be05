"""The application on open services, called in the test's own event loop."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rag.app import create_app
from rag.services import Services


class Client(httpx.AsyncClient):
    """Calls the application with a key, and reads its problems."""

    async def call(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
        return await self.request(method, path, headers=headers, **more)

    async def problem(self, method: str, path: str, status: int, code: str, **more: Any) -> dict[str, Any]:
        """Call, and check that the answer is this problem and that nothing of the inside is in it."""
        response = await self.call(method, path, **more)
        found: dict[str, Any] = response.json()
        assert (response.status_code, found["code"]) == (status, code), response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert found["status"] == status
        assert found["type"] == f"/problems/{code}"
        assert found["title"]
        assert found["detail"]
        assert found["request_id"] == response.headers["x-request-id"]
        assert found["instance"].startswith("/")
        assert not any(word in response.text for word in ("Traceback", "psycopg", "litestar"))
        return {**found, "headers": response.headers}


@pytest.fixture
async def client(services: Services) -> AsyncIterator[Client]:
    app = create_app(services=services)
    async with Client(transport=httpx.ASGITransport(app), base_url="http://cloister.test") as opened:
        yield opened
