"""The table against the routes there are: whoever adds a route learns here what it lacks."""

import pytest

from eval.isolation.callers import Caller
from eval.isolation.drives import DRIVES, FIXED, RECIPES, administers, asks, changes, public, reads, searches
from eval.isolation.estate import Document
from rag.api.openapi import describe
from rag.app import create_app
from rag.settings import Settings

PLANTED = {"slug", "collection", "external_id", "document_id", "job_id", "key_id", "chunk_id"}


@pytest.fixture
def paths(settings: Settings) -> dict:
    return describe(create_app(settings).routes, server="/")["paths"]


def test_every_route_has_a_drive_and_every_drive_a_route(paths):
    operations = {described["operationId"] for methods in paths.values() for described in methods.values()}
    assert DRIVES.keys() == operations


def test_every_id_in_a_path_belongs_to_a_canary(paths):
    named = {
        parameter["name"]
        for methods in paths.values()
        for described in methods.values()
        for parameter in described.get("parameters", [])
        if parameter["in"] == "path"
    }
    assert named <= PLANTED | RECIPES.keys() | FIXED.keys()


def caller(kind: str, *scopes: str) -> Caller:
    tenant = "alpha" if kind in {"secret", "publishable"} else None
    return Caller(name=kind, key="k", kind=kind, tenant=tenant, scopes=frozenset(scopes))


@pytest.mark.parametrize(
    ("drive", "who", "admitted"),
    [
        (public(), caller("void"), True),
        (reads("search"), caller("secret", "search"), True),
        (reads("search"), caller("secret", "answer"), False),
        (reads("search"), caller("publishable", "search"), False),
        (asks("search", bodies=searches, publishable=True), caller("publishable", "search"), True),
        (reads("search"), caller("void", "search"), False),
        (reads("search"), caller("operator"), False),
        (administers(), caller("operator"), True),
        (administers(), caller("secret", "manage"), False),
        (changes("ingest"), caller("secret", "search"), False),
    ],
)
def test_a_drive_says_whose_key_opens_its_route(drive, who, admitted):
    assert drive.admits(who) is admitted


def test_a_search_sends_only_fields_that_the_service_knows():
    document = Document.new("alpha", "red", "kb", "other", "red")
    plain = [body.value for body in searches(document, frozenset())]
    assert not any("facets" in body for body in plain)
    assert any(body.value.get("facets") for body in searches(document, frozenset({"facets"})))
    assert {body.get("mode", "hybrid") for body in plain} == {"hybrid", "semantic", "keyword"}
    assert not any(document.secret in str(body) for body in plain)
