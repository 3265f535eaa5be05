"""The dense leg as it is planned, beside a scan of everything."""

import numpy as np
import pytest

from rag.retrieval import dense, planning
from rag.retrieval.dense import dense_candidates
from rag.store.corpus import read_corpus
from rag.store.partitions import attach_partition, build_partition
from rag.store.search import SearchScope, dense_leg
from rag.telemetry import REGISTRY

SPACE = "minilm_l6_v2"
CHEAP = '(exists($ ? (@."price" < 2)))'


@pytest.fixture
async def large(acme, monkeypatch):
    """A tenant that counts as large: 600 chunks in a partition, a twentieth of them staff's, a tenth cheap."""
    monkeypatch.setattr(planning, "EXACT_ROWS", 100)
    monkeypatch.setattr(planning, "_ROWS_A_STEP", 0.1)
    for number in range(20):
        text = "\n\n".join(f"paragraph {n} of {number}" for n in range(30))
        groups = ["staff"] if number == 7 else []
        await acme.serve(f"doc-{number}", text, metadata={"price": number}, groups=groups)
    async with acme.connect() as connection:
        assert await build_partition(connection, acme.tenant, SPACE) == "built"
        assert await attach_partition(connection, acme.tenant, SPACE) == "attached"
    return acme


def searches(plan: str) -> float:
    return REGISTRY.get_sample_value("cloister_dense_plans_total", {"plan": plan}) or 0.0


async def both(owner, principal, vector, *, limit, predicate=None):
    """What the leg finds as it is planned, the plan, and what there is."""
    async with owner.connect(snapshot=True) as connection:
        corpus = await read_corpus(connection, principal)
        scope = SearchScope.of(owner.tenant, corpus, None, predicate)
        found, plan = await dense_candidates(connection, scope, vector, limit=limit)
        return found, plan, await dense_leg(connection, scope, vector, limit=limit)


async def test_a_small_tenant_is_searched_exactly(acme):
    await acme.serve("doc", "one\n\ntwo\n\nthree")
    before = searches("exact")
    found, plan, exact = await both(acme, acme.principal, acme.embed(["two"])[0], limit=2)
    assert (found, plan.method) == (exact, "exact")
    assert searches("exact") == before + 1


async def test_a_large_tenant_is_searched_by_its_index_and_finds_the_same(large, as_reader):
    everyone = as_reader(large.tenant, "acme", "*")
    shared = []
    for text in ("paragraph 3 of 4", "paragraph 7 of 19", "something else"):
        found, plan, exact = await both(large, everyone, large.embed([text])[0], limit=20)
        assert plan.method == "hnsw"
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        shared.append(len(set(found) & set(exact)) / 20)
    assert np.mean(shared) >= 0.99


async def test_what_groups_close_the_index_does_not_name(large, as_reader):
    vector = large.embed(["paragraph 3 of 7"])[0]
    found, plan, exact = await both(large, as_reader(large.tenant, "acme"), vector, limit=20)
    assert (plan.method, set(found)) == ("hnsw", set(exact))
    opened, _, _ = await both(large, as_reader(large.tenant, "acme", "staff"), vector, limit=20)
    assert opened[0][1] == pytest.approx(1, abs=1e-3)
    assert opened[0] not in found


async def test_a_filter_that_leaves_little_is_searched_exactly(large, as_reader):
    everyone = as_reader(large.tenant, "acme", "*")
    found, plan, exact = await both(large, everyone, large.embed(["x"])[0], limit=50, predicate=CHEAP)
    assert (plan.method, found, len(found)) == ("partition", exact, 50)


async def test_as_many_are_found_as_there_are_however_wrong_the_estimate(large, as_reader, monkeypatch):
    async def too_much(*_, **__) -> float:
        return 0.9

    monkeypatch.setattr(dense, "share_in_scope", too_much)
    everyone = as_reader(large.tenant, "acme", "*")
    before = searches("hnsw_in_vain")
    found, plan, exact = await both(large, everyone, large.embed(["x"])[0], limit=50, predicate=CHEAP)
    assert (plan.reason, found, len(found)) == ("the index came back short", exact, 50)
    assert searches("hnsw_in_vain") == before + 1
    few, _, _ = await both(large, everyone, large.embed(["x"])[0], limit=100, predicate=CHEAP)
    assert len(few) == 60, "all there are"
