import numpy as np
import pytest

from eval.datasets import Dataset, make_dataset
from eval.tuning import GROWTHS, SHARES, WEIGHTS, Candidates, fused, grid_of, tune_fusion
from rag.domain import Evidence, SearchResult
from rag.retrieval.weighting import GROWTH
from rag.services import Services

# By cosine a leads, by its best sentence b, by words c.
CANDIDATES = Candidates(
    ["a", "b", "c"], np.array([0.8, 0.4, 0.2]), np.array([0.8, 0.9, 0.2]), np.array([0.0, 0.1, 0.4]), 40.0
)


def test_a_score_is_the_weighted_sum_of_its_parts() -> None:
    scores = fused(CANDIDATES, growth=0.0, sentence_share=0.25, dense_weight=0.6)
    assert scores["b"] == pytest.approx(0.6 * (0.75 * 0.4 + 0.25 * 0.9) + 0.4 * 0.1)


def test_with_growth_a_query_of_twice_the_mass_gives_its_words_more() -> None:
    scores = fused(CANDIDATES, growth=1.0, sentence_share=0.0, dense_weight=0.6)
    assert scores["c"] == pytest.approx((0.6 * 0.2 + 0.8 * 0.4) / 1.4)


def test_a_document_scores_what_its_best_chunk_does() -> None:
    twice = Candidates(["a", "a"], np.array([0.2, 0.3]), np.array([0.2, 0.3]), np.zeros(2), 20.0)
    assert fused(twice, growth=0.5, sentence_share=0.5, dense_weight=1.0) == {"a": 0.3}


def test_no_candidates_score_nothing() -> None:
    nothing = SearchResult(
        hits=[], evidence=Evidence(0, 0, 0), cache="bypass", corpus_version=1, embedding_space="minilm"
    )
    assert fused(Candidates.of(nothing), growth=0.5, sentence_share=0.5, dense_weight=0.5) == {}


def test_the_grid_finds_the_weights_that_put_the_right_one_first() -> None:
    dataset = make_dataset("one", [], [], {"q": {"c": 1}})
    cells = grid_of({"q": CANDIDATES}, dataset)
    assert len(cells) == len(GROWTHS) * len(SHARES) * len(WEIGHTS)
    assert cells[0].ndcg10 == 1
    assert {cell.dense_weight for cell in cells if cell.ndcg10 == 1 and cell.growth == 0} == {0.0}
    assert all(cell.recall10 == 1 for cell in cells)
    assert cells[-1].ndcg10 == pytest.approx(1 / np.log2(4), abs=1e-4)


async def test_the_grid_at_the_service_s_own_weights_is_what_the_service_serves(
    services: Services, dataset: Dataset
) -> None:
    grid = await tune_fusion(services, dataset)
    assert (grid.dataset, grid.queries) == (dataset.name, 6)
    (cell,) = [
        cell
        for cell in grid.cells
        if (cell.growth, cell.sentence_share, cell.dense_weight) == (GROWTH, 0.5, services.settings.dense_weight)
    ]
    assert cell.recall10 == 1
