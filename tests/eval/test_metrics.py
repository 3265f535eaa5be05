from math import log2

import numpy as np
import pytest
import pytrec_eval

from eval.metrics import METRICS, average_precision, judged, measure, ndcg, ranking_of, recall, reciprocal_rank

TREC_NAMES = {"ndcg@10": "ndcg_cut_10", "recall@10": "recall_10", "recall@100": "recall_100", "map": "map"}


def test_ndcg_spelled_out() -> None:
    ranking, grades = ["a", "x", "b"], {"a": 1, "b": 3, "c": 2}
    gained = 1 / log2(2) + 0 + 3 / log2(4)
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ndcg(ranking, grades, k=10) == pytest.approx(gained / ideal)


def test_ndcg_looks_no_further_than_k_on_either_side() -> None:
    assert ndcg(["x", "a"], {"a": 1, "b": 1}, k=1) == 0
    assert ndcg(["a", "x"], {"a": 1, "b": 1}, k=1) == 1


def test_a_negative_grade_counts_as_irrelevant() -> None:
    assert ndcg(["spam", "a"], {"spam": -2, "a": 1}, k=10) == pytest.approx(1 / log2(3))
    assert recall(["spam"], {"spam": -2, "a": 1}, k=10) == 0


def test_recall_is_a_share_of_all_that_is_relevant() -> None:
    assert recall(["a", "x", "b"], {"a": 1, "b": 1, "c": 2}, k=2) == 1 / 3
    assert recall(["a", "x", "b"], {"a": 1, "b": 1, "c": 2}, k=3) == 2 / 3


def test_reciprocal_rank_is_of_the_first_relevant_one() -> None:
    assert reciprocal_rank(["x", "a", "b"], {"a": 1, "b": 3}, k=10) == 1 / 2
    assert reciprocal_rank(["x", "a"], {"a": 1}, k=1) == 0


def test_average_precision_spelled_out() -> None:
    # a at rank 1, b at rank 3, c never.
    assert average_precision(["a", "x", "b"], {"a": 1, "b": 1, "c": 1}) == pytest.approx((1 / 1 + 2 / 3 + 0) / 3)


def test_judged_counts_judgements_of_any_grade_over_k() -> None:
    assert judged(["a", "x", "b"], {"a": 0, "b": 1}, k=2) == 1 / 2
    assert judged(["a"], {"a": 1}, k=10) == 1 / 10


def test_equal_scores_are_ordered_as_trec_eval_orders_them() -> None:
    assert ranking_of({"a": 0.5, "c": 0.5, "b": 0.9}) == ["b", "c", "a"]


@pytest.mark.parametrize("ranking", [[], ["x"]])
def test_nothing_relevant_or_nothing_found_is_zero(ranking: list[str]) -> None:
    assert set(measure(ranking, {}).values()) == {0.0}
    assert set(measure([], {"a": 1}).values()) == {0.0}


def test_the_figures_are_those_of_trec_eval() -> None:
    generator = np.random.default_rng(7)
    names = [f"d{number}" for number in range(300)]
    qrels, run = {}, {}
    for query in range(60):
        pool = generator.choice(names, size=40, replace=False)
        qrels[f"q{query}"] = {str(name): int(generator.integers(-1, 4)) for name in pool}
        found = generator.choice(names, size=int(generator.integers(1, 150)), replace=False)
        # Few distinct scores, exact in a float of any width: ties are common, and ordered alike.
        run[f"q{query}"] = {str(name): float(generator.integers(0, 12)) / 8 for name in found}
    measures = {"ndcg_cut.10", "recall.10,100", "map", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    for query, scores in run.items():
        ranking = ranking_of(scores)
        ours = measure(ranking, qrels[query])
        for name, trec_name in TREC_NAMES.items():
            assert ours[name] == pytest.approx(theirs[query][trec_name], abs=1e-6), (query, name)
        # trec_eval's reciprocal rank has no cut-off.
        unlimited = reciprocal_rank(ranking, qrels[query], k=len(ranking))
        assert unlimited == pytest.approx(theirs[query]["recip_rank"])
        assert ours["mrr@10"] == (pytest.approx(unlimited, abs=1e-6) if unlimited >= 1 / 10 else 0)


def test_every_metric_is_measured() -> None:
    assert list(measure(["a"], {"a": 1})) == list(METRICS)
