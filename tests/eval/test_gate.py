import numpy as np
import pytest

from eval.datasets import Dataset, Document, Topic, make_dataset
from eval.gate import SIGNS, Example, auroc, fit, fit_gate, halves, held_out, source_of, threshold_of
from rag.domain import Evidence
from rag.errors import InvalidInput
from rag.generation.sufficiency import sufficiency
from rag.services import Services

NAMES = ("best_sentence", "lexical_coverage")


def evidence(best_sentence: float, lexical_coverage: float) -> Evidence:
    return Evidence(best_sentence=best_sentence, best_chunk=0.0, lexical_coverage=lexical_coverage)


def drawn(count: int = 2_000, *, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Signs whose log odds are 6 x best sentence + 2 x coverage - 4, drawn as such."""
    generator = np.random.default_rng(seed)
    signs = generator.uniform(0, 1, (count, 2))
    odds = 1 / (1 + np.exp(-(signs @ np.array([6.0, 2.0]) - 4.0)))
    return signs, generator.uniform(0, 1, count) < odds


def test_the_logistic_finds_the_coefficients_that_made_the_labels() -> None:
    gate, shift = fit_gate(*drawn(20_000), NAMES, false_refusals=0.05)
    assert gate.weights == {"best_sentence": pytest.approx(6, abs=0.3), "lexical_coverage": pytest.approx(2, abs=0.3)}
    assert gate.intercept - shift == pytest.approx(-4, abs=0.3)


def test_at_one_half_the_share_of_answerable_ones_refused_is_as_set() -> None:
    signs, answerable = drawn()
    for share in (0.02, 0.05, 0.2):
        gate, _ = fit_gate(signs, answerable, NAMES, false_refusals=share)
        assert np.mean(gate.logits(signs[answerable]) < 0) == pytest.approx(share, abs=0.003)


def test_classes_that_do_not_overlap_give_a_finite_gate() -> None:
    signs = np.array([[0.1, 0.1], [0.2, 0.1], [0.8, 0.9], [0.9, 0.8]])
    gate, _ = fit_gate(signs, np.array([False, False, True, True]), NAMES, false_refusals=0.05)
    assert np.isfinite([*gate.weights.values(), gate.intercept]).all()
    assert (gate.logits(signs[:2]) < 0).all()


def test_auroc_counts_pairs() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    # Of the pairs (0.9, 0.5), (0.9, 0.1), (0.5, 0.5), (0.5, 0.1), three are in order and one is a tie.
    assert auroc(scores, np.array([True, True, False, False])) == 3.5 / 4


def test_a_collection_s_threshold_is_where_the_share_of_its_answerable_questions_falls() -> None:
    strong, middling, weak = (evidence(value, value) for value in (0.9, 0.5, 0.1))
    examples = [Example("d", "s", found, answerable=True) for found in [strong] * 9 + [middling]]
    gaps = [Example("d", "s", weak, answerable=False), Example("d", "s", strong, answerable=False)]
    found = threshold_of([*examples, *gaps], false_refusals=0.1)
    assert sufficiency(middling) < found.threshold < sufficiency(strong)
    assert found.gaps_refused == 1 / 2
    assert threshold_of(examples, false_refusals=0.1).gaps_refused is None


def test_a_source_is_the_field_or_the_title_or_the_document() -> None:
    assert source_of(Document(id="d", text="", title="T", metadata={"article": "A"}), "article") == "A"
    assert source_of(Document(id="d", text="", title="T"), "article") == "T"
    assert source_of(Document(id="d", text=""), "article") == "d"


def test_halves_share_no_source_and_lose_none() -> None:
    documents = [Document(id=f"d{n}", text="x", metadata={"article": f"a{n % 5}"}) for n in range(10)]
    first, second = halves(make_dataset("ten", documents, [], {}), "article")
    sources = [{source_of(d, "article") for d in part.documents} for part in (first, second)]
    assert not sources[0] & sources[1]
    assert sorted(d.id for part in (first, second) for d in part.documents) == sorted(d.id for d in documents)
    assert {len(part) for part in sources} == {2, 3}


def test_too_few_sources_are_refused() -> None:
    documents = [Document(id=f"d{n}", text="x", title="All of it") for n in range(10)]
    with pytest.raises(InvalidInput, match="there are 1"):
        halves(make_dataset("one", documents, [], {}), "article")


def test_held_out_figures_are_of_sources_not_fitted_on() -> None:
    signs, answerable = drawn(400)
    examples = [
        Example("d", f"s{n % 40}", evidence(float(a), float(b)), bool(label))
        for n, ((a, b), label) in enumerate(zip(signs, answerable, strict=True))
    ]
    found = held_out(examples, NAMES, false_refusals=0.1, splits=20)
    assert found.auroc.mean == pytest.approx(auroc(signs @ np.array([6.0, 2.0]), answerable), abs=0.02)
    assert found.false_refusals.mean == pytest.approx(0.1, abs=0.05)
    assert 0 < found.gaps_refused.mean < 1
    assert found.false_refusals.deviation > 0


async def test_each_question_is_asked_with_and_without_its_source(services: Services, dataset: Dataset) -> None:
    report = await fit(services, [dataset], [dataset], false_refusals=0.2)
    assert report.sources == 6
    labelled, checked = report.datasets
    assert (labelled.answerable, labelled.gaps) == (6, 6)
    assert labelled.auroc
    assert labelled.auroc > 0.9
    assert (checked.answerable, checked.gaps, checked.auroc) == (6, None, None)
    assert [(t.dataset, t.gaps_refused is None) for t in report.thresholds] == [("bikes", False), ("bikes", True)]
    assert list(report.gate.weights) == list(SIGNS)
    assert report.gate.weights["best_sentence"] > 0
    assert report.encoder == services.encoder.fingerprint


async def test_a_question_whose_answer_is_split_is_left_out(services: Services, dataset: Dataset) -> None:
    first, second = halves(dataset, "article")
    both = {"q": {first.documents[0].id: 1, second.documents[0].id: 1}}
    split = make_dataset(
        "split", dataset.documents, [*dataset.topics, Topic(id="q", text="Which?")], {**dataset.qrels, **both}
    )
    report = await fit(services, [split], false_refusals=0.2)
    assert (report.datasets[0].answerable, report.datasets[0].gaps) == (6, 6)
