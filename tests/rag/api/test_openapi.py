import json
from pathlib import Path

import msgspec
import pytest
from litestar.routes import HTTPRoute

from rag.api.catalogue import ProblemType
from rag.api.openapi import describe
from rag.api.problems import Problem
from rag.app import create_app
from rag.domain import Answer, Hit


@pytest.fixture
async def described(client):
    response = await client.call("GET", "/schema/openapi.json")
    assert response.headers["content-type"].startswith("application/json")
    return response.json()


def operations(described):
    for path, item in described["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


async def test_it_is_openapi_3_1_of_cloister(described):
    assert described["openapi"].startswith("3.1")
    assert described["info"]["title"] == "Cloister"
    assert described["info"]["version"]
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert described["security"] == [{"bearer": []}]


async def test_every_route_is_described(services, described):
    routed = {
        (method, route.path_format)
        for route in create_app(services=services).routes
        if isinstance(route, HTTPRoute) and not route.path_format.startswith("/schema")
        for method in route.methods - {"OPTIONS"}
    }
    assert {(method, path) for method, path, _ in operations(described)} == routed


async def test_every_operation_is_named_and_says_what_can_go_wrong(described):
    ids = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(ids) == len(set(ids))
    tags = {tag["name"] for tag in described["tags"]}
    for method, path, operation in operations(described):
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        statuses = set(operation["responses"])
        assert statuses >= {"500", "503"}
        assert any(status.startswith("2") for status in statuses)
        if operation.get("security") != []:
            assert statuses >= {"401", "403"}, (method, path)
        if "requestBody" in operation:
            assert statuses >= {"400", "413", "415", "422"}, (method, path)
        if "{" in path:
            assert "404" in statuses, (method, path)
            declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert declared == {part.strip("{}") for part in path.split("/") if part.startswith("{")}


async def test_every_failure_is_a_problem_document(described):
    for method, path, operation in operations(described):
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                content = described["components"]["responses"][response["$ref"].split("/")[-1]]["content"]
                assert list(content) == ["application/problem+json"], (method, path, status)


async def test_every_reference_leads_somewhere(described):
    found = set(references(described))
    assert len(found) > 20
    for reference in found:
        target = described
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


async def test_the_schemas_are_those_that_bodies_are_checked_against(described):
    schemas = described["components"]["schemas"]
    query = schemas["SearchRequest"]
    assert query["additionalProperties"] is False
    assert query["required"] == ["query"]
    assert query["properties"]["query"] | {"description": ""} == {
        "type": "string", "minLength": 1, "maxLength": 2000, "description": "",
    }  # fmt: skip
    assert query["properties"]["limit"]["maximum"] == 100
    for kind in (Hit, Answer, Problem, ProblemType):
        assert set(schemas[kind.__name__]["properties"]) == set(kind.__struct_fields__)
    put = described["paths"]["/v1/collections/{collection}/documents/{external_id}"]["put"]
    assert set(put["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert set(put["responses"]) >= {"200", "202"}
    assert "Location" in put["responses"]["202"]["headers"]


async def test_a_search_answers_with_the_fields_that_are_described(client, house, described):
    await house.ingest({"a": "The zebrafork stands in the hall."})
    found = (await client.call("POST", "/v1/search", key=house.key, json={"query": "zebrafork"})).json()
    schemas = described["components"]["schemas"]
    assert set(found) == set(schemas["SearchResponse"]["properties"])
    assert set(found["hits"][0]) == set(schemas["Hit"]["properties"])
    job = (await client.call("GET", "/v1/jobs", key=house.key)).json()["data"][0]
    assert set(job) == set(schemas["Job"]["properties"])


def test_it_is_the_same_each_time(services):
    first, second = (describe(create_app(services=services).routes, server="/") for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert msgspec.json.encode(first)


def test_every_route_is_on_the_page(services):
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
    described = describe(create_app(services=services).routes, server="/")
    for method, path, _ in operations(described):
        assert f"| `{method} {path}` |" in page, (method, path)
