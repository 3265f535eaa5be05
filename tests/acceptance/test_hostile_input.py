"""The whole HTTP surface under input that its own OpenAPI document makes up, right and wrong."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as generated
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from rag.embedded import EmbeddedServers
from rag.services import open_services
from rag.settings import Secret, Settings
from rag.store.keys import create_operator_key
from tests.conftest import in_database, make_house

CANARY = "The vault of Quillhaven opens at half past four."
EXAMPLES = int(os.environ.get("CLOISTER_HOSTILE_EXAMPLES", "12"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@dataclass(frozen=True)
class Served:
    """A service on a port, a tenant that is attacked, and one that must not notice."""

    url: str
    attacked: str
    operator: str
    bystander: str

    def key_for(self, path: str) -> str:
        return self.operator if path.startswith("/v1/admin") else self.attacked


@pytest.fixture(scope="module")
def served(servers: EmbeddedServers, template: str, data_dir: Path) -> Iterator[Served]:
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE hostile TEMPLATE {template} OWNER cloister_owner")
    settings = Settings(
        data_dir=data_dir,
        database_url=Secret(in_database(servers.app_url, "hostile")),
        migration_database_url=Secret(in_database(servers.owner_url, "hostile")),
        redis_url=Secret(servers.redis_url or ""),
    )
    keys = asyncio.run(_people(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "CLOISTER_DATA_DIR": str(data_dir),
        "DATABASE_URL": settings.secret("database_url"),
        "MIGRATION_DATABASE_URL": settings.secret("migration_database_url"),
        "REDIS_URL": settings.secret("redis_url"),
        "CLOISTER_LOG_LEVEL": "error",
        # What is tried here is the surface; the limits, which would refuse most of it, have tests of their own.
        **{f"CLOISTER_LIMIT_{name}": "0" for name in ("TENANT_UNITS", "KEY_UNITS", "INVALID_KEYS", "UNKNOWN_IDS")},
    }
    serve = [sys.executable, "-m", "ingest.cli", "serve", "--port", str(port)]
    with subprocess.Popen(serve, env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        _await_ready(url, process)
        yield Served(url, *keys)
        process.terminate()
    with psycopg.connect(servers.admin_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE hostile WITH (FORCE)")


async def _people(settings: Settings) -> tuple[str, str, str]:
    async with open_services(settings) as services:
        attacked, bystander = await make_house(services, "attacked"), await make_house(services, "bystander")
        await attacked.ingest({"returns": "# Returns\n\nA zebrafork can be returned within 41 days."})
        await bystander.ingest({"vault": CANARY})
        async with services.database.control() as control:
            operator, _ = await create_operator_key(control)
    return attacked.key, operator, bystander.key


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the service ended at start"
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service did not become ready")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_input_that_the_schema_makes_up_is_answered_with_a_server_error_or_against_it(
    served: Served, mode: GenerationMode
):
    schema = schemathesis.openapi.from_url(f"{served.url}/schema/openapi.json")
    tried: dict[str, int] = {}
    failures: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        name = f"{operation.method.upper()} {operation.path}"
        try:
            _attack(operation, mode, served.key_for(operation.path), tried, name)
        except Unsatisfiable:
            assert mode.is_negative, name  # an operation that takes nothing has no wrong input
        except (AssertionError, BaseExceptionGroup) as failure:
            failures.append(f"{name}: {failure}")
    assert not failures, "\n\n".join(failures)
    assert CANARY in _search(served, served.bystander), "the other tenant noticed"
    assert len(tried) > 20, tried
    assert min(tried.values()) > 0, tried


def _search(served: Served, key: str) -> str:
    response = httpx.post(
        f"{served.url}/v1/search", json={"query": "vault of Quillhaven"}, headers={"Authorization": f"Bearer {key}"}
    )
    return response.text


def _attack(operation: Any, mode: GenerationMode, key: str, tried: dict[str, int], name: str) -> None:
    @seed(20)
    @generated(
        max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        deadline=None,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Any) -> None:
        response = case.call(headers={"Authorization": f"Bearer {key}"}, timeout=60)
        tried[name] = tried.get(name, 0) + 1
        assert CANARY not in response.text
        case.validate_response(response, checks=CHECKS)

    attempt()


TRICKS = [
    "'; DROP TABLE cloister.chunks; --",
    "' OR '1'='1",
    '" OR ""="',
    "%' UNION SELECT digest::text FROM cloister.api_keys --",
    "$$; SELECT pg_sleep(10); $$",
    "%(tenant)s",
    "{embeddings}",
    "\\",
    "%00",
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "vault' || (SELECT string_agg(text, '') FROM cloister.chunks) || '",
    "@ == 1) || (1 == 1",
    'a" == "b" || "',
    ":* | !x & (",
]


@pytest.mark.parametrize("trick", TRICKS)
def test_no_metacharacter_means_anything_wherever_it_stands(served: Served, trick: str):
    segment = quote(trick, safe="")
    bodies = [
        {"query": trick},
        {"query": trick, "mode": "keyword", "prefix": True, "highlight": True, "explain": True},
        {"query": "vault", "filters": {trick: trick}},
        {"query": "vault", "filters": {"brand": {"$in": [trick]}}, "facets": [trick[:60]]},
        {"query": "vault", "sort": {"field": trick[:60]}},
        {"query": "vault", "collections": [trick]},
    ]
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {served.attacked}"}, timeout=60
    ) as client:
        replies = [client.post("/v1/search", json=body) for body in bodies]
        replies += [
            client.post("/v1/answers", json={"question": trick}),
            client.get(f"/v1/collections/{segment}"),
            client.get(f"/v1/collections/kb/documents/{segment}"),
            client.put(
                f"/v1/collections/kb/documents/{segment}", json={"text": trick, "title": trick, "groups": [trick]}
            ),
            client.get("/v1/jobs", params={"status": trick}),
            client.get("/v1/jobs", params={"cursor": trick}),
            client.get("/v1/jobs", headers={"X-Request-ID": trick, "X-Tenant": trick}),
            client.get("/v1/jobs", headers={"Authorization": f"Bearer {trick}"}),
        ]
    assert all(reply.status_code < 500 and CANARY not in reply.text for reply in replies), replies
    assert CANARY in _search(served, served.bystander)


SMUGGLED = "GET /v1/collections HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
AMBIGUOUS = [
    "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "Content-Length: 0, 44\r\n\r\n",
    "Content-Length: +0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: 0\r\nX: a\rContent-Length: 44\r\n\r\n",
]


@pytest.mark.parametrize("framing", AMBIGUOUS)
def test_a_request_whose_end_is_ambiguous_is_not_followed_by_another(served: Served, framing: str):
    host, port = served.url.removeprefix("http://").split(":")
    first = "POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + framing
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall((first + SMUGGLED.format(key=served.bystander)).encode())
        connection.shutdown(socket.SHUT_WR)
        told = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"data"' not in told, told
    assert told == b"" or told.startswith(b"HTTP/1.1 4"), told
    assert told.count(b"HTTP/1.1 ") <= 1


def test_what_is_too_large_is_refused_and_read_no_further(served: Served):
    headers = {"Authorization": f"Bearer {served.attacked}"}
    large = httpx.post(f"{served.url}/v1/search", headers=headers, json={"query": "x" * 12_000_000}, timeout=60)
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    nested = httpx.post(f"{served.url}/v1/search", headers=headers, json={"query": "x", "filters": _nested(60)})
    assert nested.status_code in {413, 422}
    wide = httpx.get(f"{served.url}/v1/jobs", headers={**headers, "X-Wide": "x" * 1_000_000}, timeout=60)
    assert 400 <= wide.status_code < 500


def _nested(depth: int) -> dict[str, Any]:
    return {"$not": _nested(depth - 1)} if depth else {"brand": "x"}
