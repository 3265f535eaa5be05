"""Random operations of two tenants over HTTP, replayed against dictionaries: a caller finds what its dictionary has.

Nothing is known here of how tenants and groups are kept apart; only of what each caller may see.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as generated
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rag.app import create_app
from rag.domain import Scope
from rag.services import Services, open_services
from rag.settings import Settings
from rag.store.keys import create_key
from tests.conftest import House, drain, make_house

READERS: dict[str, tuple[str, ...]] = {"nobody": (), "red": ("red",), "both": ("red", "blue"), "all": ("*",)}
WORDS = ("zebrafork", "quillhaven", "mangosteen")
HOUSES = (0, 1)
_NUMBERS = count()


@dataclass
class Document:
    word: str
    groups: frozenset[str]
    brand: str

    def readable_by(self, reader: str) -> bool:
        own = READERS[reader]
        return not self.groups or "*" in own or bool(self.groups & set(own))


@dataclass
class Expected:
    """A tenant, its keys by reader, and what it ought to hold."""

    house: House
    keys: dict[str, str]
    documents: dict[str, Document] = field(default_factory=dict)

    def visible(self, reader: str, *, word: str | None = None, brand: str | None = None) -> set[str]:
        return {
            name
            for name, document in self.documents.items()
            if document.readable_by(reader) and word in {None, document.word} and brand in {None, document.brand}
        }


@dataclass
class World:
    """Open services and a way into them from a synchronous test."""

    runner: asyncio.Runner
    services: Services
    client: httpx.AsyncClient

    def call(self, method: str, path: str, key: str, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return self.runner.run(self.client.request(method, path, headers=headers, json=body))

    async def tenant(self) -> Expected:
        house = await make_house(self.services, f"tenant-{next(_NUMBERS)}")
        keys = {}
        async with self.services.database.tenant(house.tenant) as connection:
            for reader, groups in READERS.items():
                scopes = [Scope.SEARCH, Scope.ANSWER]
                keys[reader], _ = await create_key(connection, house.tenant, scopes=scopes, groups=groups)
        return Expected(house, keys)


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    with asyncio.Runner() as runner:
        opening = open_services(settings)
        services = runner.run(opening.__aenter__())
        transport = httpx.ASGITransport(create_app(services=services))
        client = httpx.AsyncClient(transport=transport, base_url="http://cloister.test")
        yield World(runner, services, client)
        runner.run(client.aclose())
        runner.run(opening.__aexit__(None, None, None))


houses = st.sampled_from(HOUSES)
readers = st.sampled_from(sorted(READERS))
names = st.sampled_from(["a", "b", "c"])
words = st.sampled_from(WORDS)
groups = st.frozensets(st.sampled_from(["red", "blue"]))
brands = st.sampled_from(["acme", "bolt"])


class Tenants(RuleBasedStateMachine):
    """Two tenants that use the same names and words."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.tenants = [self.world.runner.run(self.world.tenant()) for _ in HOUSES]

    @rule(house=houses, name=names, word=words, groups=groups, brand=brands)
    def put(self, house: int, name: str, word: str, groups: frozenset[str], brand: str) -> None:
        tenant = self.tenants[house]
        body = {"text": f"The {word} stands in the hall.", "groups": sorted(groups), "metadata": {"brand": brand}}
        path = f"/v1/collections/kb/documents/{name}"
        assert self.world.call("PUT", path, tenant.house.key, body).status_code in {200, 202}
        self.world.runner.run(drain(self.world.services))
        tenant.documents[name] = Document(word, groups, brand)

    @rule(house=houses, name=names)
    def delete(self, house: int, name: str) -> None:
        tenant = self.tenants[house]
        response = self.world.call("DELETE", f"/v1/collections/kb/documents/{name}", tenant.house.key)
        assert response.status_code == (204 if name in tenant.documents else 404)
        tenant.documents.pop(name, None)

    @rule(word=words, brand=st.none() | brands, order=st.permutations(sorted(READERS)))
    def search_for_a_word(self, word: str, brand: str | None, order: list[str]) -> None:
        body: dict[str, Any] = {"query": word, "mode": "keyword", "limit": 100}
        if brand:
            body["filters"] = {"brand": brand}
        for tenant in self.tenants:
            for reader in order:  # one after the other, so that each meets what the others left in the cache
                hits = self.search(tenant, reader, body)
                assert {hit["external_id"] for hit in hits} == tenant.visible(reader, word=word, brand=brand)
                assert all(word in hit["text"] for hit in hits)

    @rule(word=words, mode=st.sampled_from(["hybrid", "semantic"]), order=st.permutations(sorted(READERS)))
    def search_by_meaning(self, word: str, mode: str, order: list[str]) -> None:
        body = {"query": f"Where does the {word} stand?", "mode": mode, "limit": 100}
        for tenant in self.tenants:
            for reader in order:
                found = {hit["external_id"] for hit in self.search(tenant, reader, body)}
                assert found == tenant.visible(reader)

    def search(self, tenant: Expected, reader: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        response = self.world.call("POST", "/v1/search", tenant.keys[reader], body)
        assert response.status_code == 200, response.text
        hits: list[dict[str, Any]] = response.json()["hits"]
        return hits

    @rule(house=houses, reader=readers, word=words)
    def ask(self, house: int, reader: str, word: str) -> None:
        tenant = self.tenants[house]
        question = {"question": f"Where does the {word} stand?"}
        answer = self.world.call("POST", "/v1/answers", tenant.keys[reader], question).json()
        ids = {tenant.documents[name].word for name in tenant.visible(reader)}
        told = {known for known in WORDS if known in answer["text"]}
        assert told <= ids, (told, ids)
        for other in self.tenants:
            seen = self.world.call("GET", f"/v1/answers/{answer['id']}", other.keys[reader]).status_code
            assert seen == (200 if other is tenant else 404)

    @rule(house=houses, reader=readers, name=names)
    def read_a_record(self, house: int, reader: str, name: str) -> None:
        tenant = self.tenants[house]
        response = self.world.call("GET", f"/v1/collections/kb/documents/{name}", tenant.keys[reader])
        assert response.status_code == (200 if name in tenant.visible(reader) else 404)

    @invariant()
    def lists_hold_what_the_reader_may_see(self) -> None:
        for tenant in getattr(self, "tenants", ()):
            listed = self.world.call("GET", "/v1/collections/kb/documents?limit=100", tenant.keys["red"]).json()
            assert {document["external_id"] for document in listed["data"]} == tenant.visible("red")


def test_every_caller_finds_what_a_dictionary_would_give_it(world: World):
    class OfThisWorld(Tenants):
        pass

    OfThisWorld.world = world
    run_state_machine_as_test(
        OfThisWorld,
        settings=generated(
            max_examples=5, stateful_step_count=25, phases=[Phase.generate], derandomize=True, database=None,
            deadline=None, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
