import asyncio
import dataclasses
import json

import httpx
import msgspec
import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from rag.app import create_app
from rag.telemetry import REGISTRY

QUERY = "a query that nobody else should read"


@pytest.mark.parametrize("sent", ["a", "acc-1.2:3_4", "x" * 128])
async def test_a_sane_request_id_is_echoed(client, sent):
    for path in ("/health/live", "/v1/nowhere", "/v1/jobs"):
        response = await client.call("GET", path, headers={"X-Request-ID": sent})
        assert response.headers.get_list("x-request-id") == [sent]


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\tb", "é", "<script>"])
async def test_any_other_is_replaced(client, sent):
    response = await client.call("GET", "/health/live", headers={"X-Request-ID": sent.encode()})
    assert response.headers["x-request-id"] not in {"", sent}


async def test_each_request_gets_an_id_of_its_own(client):
    seen = {(await client.call("GET", "/health/live")).headers["x-request-id"] for _ in range(3)}
    assert len(seen) == 3


async def test_every_answer_carries_the_security_headers(client, house):
    for method, path in (("GET", "/v1/jobs"), ("GET", "/v1/nowhere"), ("POST", "/v1/jobs"), ("GET", "/health/live")):
        headers = (await client.call(method, path, key=house.key)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_a_request_is_one_line_that_names_who_and_what_but_no_text(client, house):
    with capture_logs() as lines:
        await client.call("POST", "/v1/search", key=house.key, json={"query": QUERY}, headers={"X-Request-ID": "r1"})
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == 1
    assert requests[0] | {"ms": 0} == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": "/v1/search",
        "status": 200,
        "ms": 0,
        "tenant": "acme",
        "key_id": str(house.principal.key_id),
        "request_id": "r1",
        "outcome": "ok",
    }
    written = json.dumps(lines, default=repr)
    assert QUERY not in written
    assert house.key not in written


async def test_the_line_names_the_route_and_never_the_path(client, house):
    with capture_logs() as lines:
        await client.call("GET", "/v1/collections/kb/documents/patient-4711", key=house.key)
        await client.call("GET", "/somewhere/patient-4711")
        await client.call("GET", "/v1/jobs")
    seen = [
        (line["route"], line["status"], line["outcome"], line["tenant"]) for line in lines if line["event"] == "request"
    ]
    assert seen == [
        ("/v1/collections/{collection}/documents/{external_id}", 404, "not_found", "acme"),
        ("unmatched", 404, "not_found", None),
        ("/v1/jobs", 401, "unauthenticated", None),
    ]
    assert "patient-4711" not in json.dumps(lines, default=repr)


async def test_nothing_of_a_request_is_bound_after_it(client, house):
    await client.call("GET", "/v1/jobs", key=house.key)
    assert get_contextvars() == {}


async def test_the_metrics_count_by_route_and_not_by_whatever_a_caller_makes_up(client, house):
    def count(method, route, status):
        labels = {"method": method, "route": route, "status": status}
        return REGISTRY.get_sample_value("cloister_requests_total", labels) or 0.0

    before = count("GET", "/v1/jobs/{job_id}", "404"), count("OTHER", "unmatched", "405")
    await client.call("GET", "/v1/jobs/00000000-0000-4000-8000-000000000000", key=house.key)
    await client.call("BREW", "/v1/jobs", key=house.key)
    after = count("GET", "/v1/jobs/{job_id}", "404"), count("OTHER", "unmatched", "405")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]
    timed = REGISTRY.get_sample_value("cloister_request_seconds_count", {"route": "/v1/jobs/{job_id}"})
    assert timed >= 1


async def test_a_caller_that_goes_away_while_sending_is_not_an_error_of_ours(services, house):
    app = create_app(services=services)
    request = httpx.Request(
        "POST",
        "http://cloister.test/v1/search",
        headers={"Authorization": f"Bearer {house.key}", "Content-Type": "application/json"},
    )
    messages = [{"type": "http.request", "body": b'{"que', "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/search",
        "raw_path": b"/v1/search",
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": "http",
        "server": ("cloister.test", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
        "http_version": "1.1",
    }
    with capture_logs() as lines:
        await app(scope, receive, send)
    assert [line["outcome"] for line in lines if line["event"] == "request"] == ["malformed_body"]


async def test_a_body_that_never_ends_is_not_waited_for(services, house):
    services = dataclasses.replace(services, settings=msgspec.structs.replace(services.settings, body_timeout_s=0.05))
    sent = []

    async def receive():
        if sent:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        return None

    async def send(message):
        sent.append(message)

    headers = [
        (b"authorization", f"Bearer {house.key}".encode()), (b"content-type", b"application/json"),
        (b"content-length", b"20"),
    ]  # fmt: skip
    scope = {
        "type": "http", "method": "POST", "path": "/v1/search", "raw_path": b"/v1/search", "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("cloister.test", 80),
        "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"}, "extensions": {},
    }  # fmt: skip
    await create_app(services=services)(scope, receive, send)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "too_slow"
