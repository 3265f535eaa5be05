import httpx
import pytest
from litestar import get
from structlog.testing import capture_logs

from rag.api.access import PUBLIC
from rag.app import create_app
from rag.errors import (
    CloisterError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    Overloaded,
    SetupError,
    UnreadableDocument,
)

SECRET = "hunter2 of tenant acme"


@pytest.fixture
async def failing(services):
    """Calls an application with a route that raises what it is told to."""
    app = create_app(services=services)
    thrown: list[Exception] = []

    @get("/throw", opt=PUBLIC)
    async def throw() -> None:
        raise thrown.pop()

    app.register(throw)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloister.test") as client:

        async def call(error):
            thrown.append(error)
            return await client.get("/throw")

        yield call


async def test_an_unexpected_error_keeps_its_words_to_itself_and_is_logged_with_its_traceback(failing):
    with capture_logs() as lines:
        response = await failing(RuntimeError(SECRET))
    body = response.json()
    assert (response.status_code, body["code"]) == (500, "internal")
    assert SECRET not in response.text
    logged = next(line for line in lines if line["event"] == "request_failed")
    assert logged["error"] == "RuntimeError"
    assert str(logged["exc_info"]) == SECRET
    assert logged["exc_info"].__traceback__ is not None


async def test_an_error_of_the_installation_keeps_its_words_to_itself(failing):
    response = await failing(SetupError(SECRET))
    assert (response.status_code, response.json()["code"]) == (500, "setup")
    assert SECRET not in response.text


@pytest.mark.parametrize("error", [DatabaseUnavailable("away", retry_after=1.2), Overloaded("full", retry_after=0.1)])
async def test_what_is_transient_says_when_to_come_back(failing, error):
    with capture_logs() as lines:
        response = await failing(error)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= error.retry_after
    assert response.json()["detail"] == error.message
    assert [line["event"] for line in lines] == ["request"]


@pytest.mark.parametrize("error", [Conflict("twice"), UnreadableDocument("no text"), CloisterError("x")])
async def test_an_error_of_ours_carries_its_own_code_and_status(failing, error):
    response = await failing(error)
    assert (response.status_code, response.json()["code"]) == (error.status, error.code)
    assert "errors" not in response.json()


async def test_invalid_input_is_pointed_at(failing):
    body = (await failing(InvalidInput("too short", pointer="/a/0"))).json()
    assert body["errors"] == [{"pointer": "/a/0", "message": "too short"}]


async def test_a_path_that_is_not_there(client, house):
    for key in (None, house.key):
        await client.problem("GET", "/v1/nowhere", 404, "not_found", key=key)
    await client.problem("GET", "/v1/jobs/not-a-uuid", 404, "not_found", key=house.key)


async def test_a_method_that_is_not_there_names_those_that_are(client, house):
    found = await client.problem("DELETE", "/v1/search", 405, "method_not_allowed", key=house.key)
    assert "POST" in found["headers"]["allow"].split(", ")


async def test_a_body_must_be_json_and_say_so(client, house):
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
        await client.problem(
            "POST",
            "/v1/search",
            415,
            "unsupported_media_type",
            key=house.key,
            content=b'{"query":"x"}',
            headers=headers,
        )
    response = await client.call(
        "POST",
        "/v1/search",
        key=house.key,
        content=b'{"query":"x"}',
        headers={"Content-Type": "Application/JSON; charset=utf-8"},
    )
    assert response.status_code == 200


async def test_a_body_that_is_missing_or_broken(client, house):
    json = {"Content-Type": "application/json"}
    for content in (b"", b"{", b"\xff\xfe", b'{"query":"\xff"}'):
        await client.problem("POST", "/v1/search", 400, "malformed_body", key=house.key, content=content, headers=json)
    for content in (b"[" * 100_000, b"null", b'"x"'):
        await client.problem("POST", "/v1/search", 422, "invalid_input", key=house.key, content=content, headers=json)
    nested = b'{"query":"x","filters":' + b'{"a":' * 100_000
    await client.problem("POST", "/v1/search", 413, "too_large", key=house.key, content=nested, headers=json)


async def test_a_body_over_the_bound_is_refused_announced_or_not(client, house, settings):
    large = b'{"query":"' + b"x" * settings.max_body_bytes + b'"}'

    async def chunks():
        for start in range(0, len(large), 1_000_000):
            yield large[start : start + 1_000_000]

    for content in (large, chunks()):
        await client.problem(
            "POST",
            "/v1/search",
            413,
            "too_large",
            key=house.key,
            content=content,
            headers={"Content-Type": "application/json"},
        )


async def test_a_host_that_is_none_is_refused(client, house):
    found = await client.problem("GET", "/v1/jobs", 400, "refused", key=house.key, headers={"Host": "no host"})
    assert "host" in found["detail"]


async def test_a_body_where_none_is_read_breaks_nothing(client, house):
    response = await client.call("GET", "/v1/jobs", key=house.key, content=b"\x00 not json")
    assert response.status_code == 200


async def test_a_query_parameter_that_is_wrong_is_pointed_at(client, house):
    for query in ("limit=0", "limit=101", "limit=ten", "limit=", "cursor=!", "cursor=", "status=x"):
        found = await client.problem("GET", f"/v1/jobs?{query}", 422, "invalid_input", key=house.key)
        assert found["errors"][0]["pointer"] == "/" + query.split("=")[0]


async def test_a_database_that_is_away_is_a_503(client, services, house):
    assert (await client.call("POST", "/v1/search", key=house.key, json={"query": "x"})).status_code == 200
    await services.database.close()
    found = await client.problem("POST", "/v1/search", 503, "database_unavailable", key=house.key, json={"query": "y"})
    assert int(found["headers"]["retry-after"]) >= 1
