import httpx
import msgspec
import pytest

from eval.isolation.service import Ask, Service, filled, service_at
from rag.errors import SetupError

SPEC = {
    "paths": {
        "/v1/answers/{answer_id}/events": {
            "parameters": [],
            "get": {
                "operationId": "followAnswer",
                "tags": ["answers"],
                "parameters": [{"name": "answer_id", "in": "path"}, {"name": "cursor", "in": "query"}],
                "responses": {"200": {"content": {"text/event-stream": {}}}},
            },
        },
        "/v1/search": {
            "post": {
                "operationId": "search",
                "tags": ["search"],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Asked"}}}},
                "responses": {"200": {}},
            }
        },
    },
    "components": {"schemas": {"Asked": {"properties": {"query": {}, "facets": {}}}}},
}


def service_of(*replies: httpx.Response) -> tuple[Service, list[httpx.Request]]:
    heard: list[httpx.Request] = []
    waiting = list(replies)

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        return waiting.pop(0)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://here")
    return Service(client), heard


async def test_it_waits_as_long_as_it_is_told():
    later = httpx.Response(429, headers={"Retry-After": "0"})
    service, heard = service_of(later, httpx.Response(503, headers={"Retry-After": "0"}), httpx.Response(200))
    assert (await service.send(Ask(method="GET", path="/x"), "key")).status == 200
    assert len(heard) == 3


async def test_an_impatient_caller_takes_a_refusal_as_it_comes():
    service, heard = service_of(httpx.Response(429, headers={"Retry-After": "9"}))
    assert (await service.send(Ask(method="GET", path="/x"), "key", patient=False)).status == 429
    assert len(heard) == 1


async def test_a_request_carries_its_key_and_its_body():
    service, (heard) = service_of(httpx.Response(200), httpx.Response(200))
    await service.send(Ask(method="POST", path="/v1/search", body={"query": "x"}, query={"a": "b"}), "clo_sk_1")
    await service.send(Ask(method="GET", path="/a%2Fb"), None)
    first, second = heard
    assert first.headers["authorization"] == "Bearer clo_sk_1"
    assert first.headers["content-type"] == "application/json"
    assert (first.url.path, first.url.query, first.content) == ("/v1/search", b"a=b", b'{"query":"x"}')
    assert "authorization" not in second.headers
    assert second.url.raw_path == b"/a%2Fb"


async def test_routes_are_read_from_the_description():
    service, _ = service_of(httpx.Response(200, content=msgspec.json.encode(SPEC)))
    follow, search = await service.operations()
    assert (follow.id, follow.method, follow.path_names) == ("followAnswer", "GET", ["answer_id"])
    assert follow.streams
    assert follow.query_names == {"cursor"}
    assert (search.fields, search.takes_body, search.streams) == ({"query", "facets"}, True, False)


async def test_what_describes_no_cloister_is_refused():
    service, _ = service_of(httpx.Response(404))
    with pytest.raises(SetupError, match="does not describe a Cloister"):
        await service.operations()


async def test_nobody_at_the_address_is_said_so():
    with pytest.raises(SetupError, match=r"no service answers at http://127\.0\.0\.1:1"):
        async with service_at("http://127.0.0.1:1"):
            pass


def test_paths_are_filled_with_one_segment_a_name():
    assert filled("/v1/{a}/x/{b}", {"a": "o/p", "b": "q r", "c": "unused"}) == "/v1/o%2Fp/x/q%20r"
