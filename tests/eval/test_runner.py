from uuid import UUID

from eval.datasets import Dataset
from eval.runner import documents_of, measured, run_retrieval
from rag.domain import Hit, Ranks
from rag.services import Services
from rag.telemetry import CACHE_LOOKUPS


def hit(document: str, score: float) -> Hit:
    nowhere = UUID(int=0)
    return Hit(
        chunk_id=nowhere,
        document_id=nowhere,
        external_id=document,
        document_version=1,
        collection="corpus",
        title=None,
        uri=None,
        heading_path=[],
        page=None,
        text="",
        highlights=[],
        score=score,
        similarity=None,
        ranks=Ranks(None, None),
        metadata={},
    )


def test_a_document_scores_what_its_best_chunk_does() -> None:
    assert documents_of([hit("a", 0.5), hit("b", 0.4), hit("a", 0.3), hit("b", 0.6)]) == {"a": 0.5, "b": 0.6}
    assert documents_of([hit("a", -0.2)]) == {"a": -0.2}


def test_means_are_over_queries(dataset: Dataset) -> None:
    found = measured({"q-tyres": {"tyres": 1.0}, "q-chain": {"lock": 0.9, "chain": 0.8}}, dataset)
    assert found.per_query["q-chain"]["mrr@10"] == 1 / 2
    assert found.mean["mrr@10"] == (1 + 1 / 2) / 2


async def test_every_query_is_run_in_every_mode(services: Services, dataset: Dataset) -> None:
    followed: list[tuple[str, int, int]] = []
    run = await run_retrieval(services, dataset, follow=lambda *step: followed.append(step))
    assert list(run.rankings) == ["hybrid", "semantic", "keyword"]
    assert followed[-1] == ("keyword", 6, 6)
    assert "unanswered" not in run.queries
    for mode in run.rankings:
        assert run.measured[mode].mean["recall@10"] == 1, mode
        assert run.measured[mode].mean["ndcg@10"] > 0.9, mode
    assert run.config.queries == 6
    assert run.config.documents == 6
    assert run.config.settings == {"dense_weight": services.settings.dense_weight}
    assert run.config.encoder["fingerprint"] == services.encoder.fingerprint


async def test_fewer_queries_and_modes_when_asked(services: Services, dataset: Dataset) -> None:
    run = await run_retrieval(services, dataset, modes=("keyword",), limit_queries=2)
    assert list(run.rankings) == ["keyword"]
    assert list(run.rankings["keyword"]) == list(run.queries) == ["q-tyres", "q-chain"]


async def test_the_cache_is_passed_by(services: Services, dataset: Dataset) -> None:
    def lookups() -> list[float]:
        return [CACHE_LOOKUPS.labels(status)._value.get() for status in ("hit", "miss")]

    before = lookups()
    first = await run_retrieval(services, dataset, keep=True)
    assert (await run_retrieval(services, dataset)).rankings == first.rankings
    assert lookups() == before
