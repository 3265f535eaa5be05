import numpy as np
import pytest

from rag.domain import TenantId
from rag.retrieval import query_vectors
from rag.retrieval.query_vectors import QueryVectors


class Counting:
    """The encoder, and how often it was asked."""

    def __init__(self, encoder) -> None:
        self.encoder = encoder
        self.asked: list[str] = []

    async def embed_query(self, text: str):
        self.asked.append(text)
        return await self.encoder.embed_query(text)


@pytest.fixture
def counting(services) -> Counting:
    return Counting(services.encoder)


async def test_a_query_is_embedded_once(counting, house):
    vectors = QueryVectors(counting)
    first = await vectors.of(house.tenant, "brake lever")
    assert np.array_equal(first, await vectors.of(house.tenant, "brake lever"))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-3)
    assert counting.asked == ["brake lever"]


async def test_no_vector_is_shared_between_tenants(counting, house, absent_id):
    vectors = QueryVectors(counting)
    await vectors.of(house.tenant, "brake")
    await vectors.of(TenantId(absent_id), "brake")
    assert counting.asked == ["brake", "brake"]


async def test_the_longest_unused_is_forgotten_first(counting, house, monkeypatch):
    monkeypatch.setattr(query_vectors, "_KEPT", 2)
    vectors = QueryVectors(counting)
    for text in ("a", "b", "a", "c", "a", "b"):
        await vectors.of(house.tenant, text)
    assert counting.asked == ["a", "b", "c", "b"]


async def test_a_question_is_in_memory_for_ten_minutes(counting, house, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(query_vectors.time, "monotonic", lambda: now)
    vectors = QueryVectors(counting)
    await vectors.of(house.tenant, "old")
    now += 599
    await vectors.of(house.tenant, "new")
    now += 2
    await vectors.of(house.tenant, "newest")
    assert {text for _, text in vectors._kept} == {"new", "newest"}
