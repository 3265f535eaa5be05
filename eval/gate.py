"""Fitting the sufficiency gate: the page.

    sources in two halves -> each question asked of both -> evidence -> logistic -> threshold -> held-out figures

A question is answerable where its relevant documents are, and not where the sources that they belong to are missing.
That is a gap in the corpus. A question whose passage is there and does not answer it is another matter, which the
evidence hardly shows.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from eval.corpus import corpus_in_service
from eval.datasets import Dataset, Document, Topic, make_dataset
from rag.domain import Evidence, Query
from rag.errors import InvalidInput
from rag.generation.sufficiency import sufficiency
from rag.services import Services

SIGNS: Final = Evidence.__struct_fields__
_SPLITS: Final = 50
_SEED: Final = 0
_STEPS: Final = 50
_RIDGE: Final = 1e-3  # keeps the fit finite when the two classes do not overlap

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Example(msgspec.Struct, frozen=True):
    """A question asked of a corpus that holds its answer, or of one that does not."""

    dataset: str
    source: str
    evidence: Evidence
    answerable: bool


class Gate(msgspec.Struct, frozen=True):
    """A logistic over signs of the evidence; at probability 0.5 it refuses the share of answerable questions it may."""

    weights: dict[str, float]
    intercept: float

    def logits(self, table: Floats) -> Floats:
        """The log odds of a table (n, signs) whose columns are in the order of the weights."""
        found: Floats = table @ np.array(list(self.weights.values())) + self.intercept
        return found


class Spread(msgspec.Struct, frozen=True):
    """A figure over repeated splits."""

    mean: float
    deviation: float


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate fitted on half of the sources does on the other half, over repeated splits."""

    auroc: Spread
    false_refusals: Spread
    gaps_refused: Spread


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What the fitted gate does on one data set; `gaps` None where every question has an answer."""

    dataset: str
    answerable: int
    false_refusals: float
    gaps: int | None = None
    gaps_refused: float | None = None
    auroc: float | None = None


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """For one data set, the threshold of the gate in service that refuses the share of answerable questions it may.

    It is a collection's `refusal_threshold`. `gaps_refused` None where every question has an answer.
    """

    dataset: str
    threshold: float
    gaps_refused: float | None


class GateReport(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted gate with the figures it goes by; `shift` is what was added to the intercept of the logistic."""

    gate: Gate
    shift: float
    encoder: str
    sources: int
    held_out: HeldOut
    datasets: list[Refused]
    thresholds: list[Threshold]


async def fit(
    services: Services,
    labelled: Sequence[Dataset],
    answerable: Sequence[Dataset] = (),
    *,
    signs: Sequence[str] = SIGNS,
    group_by: str = "article",
    false_refusals: float = 0.05,
    language: str = "english",
    keep: bool = False,
) -> GateReport:
    """Fit the gate on `labelled`; `answerable` only tells how many of its questions the gate would refuse."""
    asker = _Asker(services, group_by=group_by, language=language, keep=keep)
    examples = [example for dataset in labelled for example in await asker.both_ways(dataset)]
    checks = [example for dataset in answerable for example in await asker.as_it_is(dataset)]
    by_dataset = [
        *([e for e in examples if e.dataset == dataset.name] for dataset in labelled),
        *([e for e in checks if e.dataset == dataset.name] for dataset in answerable),
    ]
    gate, shift = fit_gate(*table_of(examples, signs), signs, false_refusals=false_refusals)
    return GateReport(
        gate=gate,
        shift=shift,
        encoder=services.encoder.fingerprint,
        sources=len({(example.dataset, example.source) for example in examples}),
        held_out=held_out(examples, signs, false_refusals=false_refusals),
        datasets=[_refused(gate, found) for found in by_dataset],
        thresholds=[threshold_of(found, false_refusals=false_refusals) for found in by_dataset],
    )


def fit_gate(table: Floats, answerable: Bools, signs: Sequence[str], *, false_refusals: float) -> tuple[Gate, float]:
    """The logistic of a table (n, signs), its intercept shifted so that 0.5 refuses that share of the answerable ones.

    Gives the gate and the shift.
    """
    *weights, intercept = _logistic(np.column_stack([table, np.ones(len(table))]), answerable)
    rounded = Gate({sign: round(float(weight), 3) for sign, weight in zip(signs, weights, strict=True)}, 0.0)
    threshold = float(np.quantile(rounded.logits(table[answerable]), false_refusals))
    gate = msgspec.structs.replace(rounded, intercept=round(-threshold, 3))
    return gate, round(-threshold - float(intercept), 3)


def auroc(scores: Floats, answerable: Bools) -> float:
    """The chance that an answerable question scores above one that is not; a tie counts half (Mann & Whitney, 1947)."""
    positives, negatives = np.sort(scores[answerable]), scores[~answerable]
    below = np.searchsorted(positives, negatives, side="right")
    level = below - np.searchsorted(positives, negatives, side="left")
    return float((len(positives) - below + 0.5 * level).sum()) / (len(positives) * len(negatives))


def held_out(
    examples: Sequence[Example], signs: Sequence[str] = SIGNS, *, false_refusals: float, splits: int = _SPLITS
) -> HeldOut:
    """Fit on a random half of the sources and look at the other half, `splits` times."""
    table, answerable = table_of(examples, signs)
    sources = np.array([f"{example.dataset}\n{example.source}" for example in examples])
    generator = np.random.default_rng(_SEED)
    figures = []
    for _ in range(splits):
        names = generator.permutation(np.unique(sources))
        train = np.isin(sources, names[: len(names) // 2])
        gate, _ = fit_gate(table[train], answerable[train], signs, false_refusals=false_refusals)
        logits, truth = gate.logits(table[~train]), answerable[~train]
        figures.append((auroc(logits, truth), np.mean(logits[truth] < 0), np.mean(logits[~truth] < 0)))
    spreads = [_spread(column) for column in zip(*figures, strict=True)]
    return HeldOut(auroc=spreads[0], false_refusals=spreads[1], gaps_refused=spreads[2])


def threshold_of(examples: Sequence[Example], *, false_refusals: float) -> Threshold:
    """The confidence below which that share of a data set's answerable questions lies, by the gate in service."""
    confidence = np.array([sufficiency(example.evidence) for example in examples])
    answerable = np.array([example.answerable for example in examples])
    threshold = round(float(np.quantile(confidence[answerable], false_refusals)), 4)
    refused = None if answerable.all() else round(float(np.mean(confidence[~answerable] < threshold)), 4)
    return Threshold(dataset=examples[0].dataset, threshold=threshold, gaps_refused=refused)


def halves(dataset: Dataset, group_by: str) -> tuple[Dataset, Dataset]:
    """The data set's sources dealt into two corpora, each with all of its queries and judgements."""
    sources = sorted({source_of(document, group_by) for document in dataset.documents})
    if len(sources) < 4:  # noqa: PLR2004 - two to fit on and two to look at, one in each half
        raise InvalidInput(f"{dataset.name}: four sources are the least, by '{group_by}' there are {len(sources)}")
    dealt = np.random.default_rng(_SEED).permutation(len(sources))
    first = {sources[number] for number in dealt[::2]}
    return (
        _part(dataset, [d for d in dataset.documents if source_of(d, group_by) in first], "a"),
        _part(dataset, [d for d in dataset.documents if source_of(d, group_by) not in first], "b"),
    )


def source_of(document: Document, group_by: str) -> str:
    """What a document is a piece of: the metadata field, or else its title, or else itself."""
    return str(document.metadata.get(group_by) or document.title or document.id)


def _part(dataset: Dataset, documents: Sequence[Document], suffix: str) -> Dataset:
    return make_dataset(f"{dataset.name}-{suffix}", documents, dataset.topics, dataset.qrels)


class _Asker:
    """Asks data sets' questions of corpora, and keeps the evidence."""

    def __init__(self, services: Services, *, group_by: str, language: str, keep: bool) -> None:
        self._services = services
        self._group_by = group_by
        self._language = language
        self._keep = keep

    async def both_ways(self, dataset: Dataset) -> list[Example]:
        """Every question with its sources, and without them."""
        return [example for part in halves(dataset, self._group_by) for example in await self._ask(part, dataset)]

    async def as_it_is(self, dataset: Dataset) -> list[Example]:
        """Every question of the whole corpus."""
        return await self._ask(dataset, dataset)

    async def _ask(self, part: Dataset, whole: Dataset) -> list[Example]:
        source = {document.id: source_of(document, self._group_by) for document in whole.documents}
        there = {source[document.id] for document in part.documents}
        examples: list[Example] = []
        async with corpus_in_service(self._services, part, language=self._language, keep=self._keep) as loaded:
            for topic in whole.answerable:
                sources = {source[document] for document in _relevant(whole, topic)}
                if sources & there and not sources <= there:
                    continue  # half an answer is neither
                found = await self._services.searcher.search(loaded.principal, Query(text=topic.text, explain=True))
                examples.append(Example(whole.name, min(sources), found.evidence, sources <= there))
        return examples


def _relevant(dataset: Dataset, topic: Topic) -> list[str]:
    return [document for document, grade in dataset.qrels[topic.id].items() if grade > 0]


def table_of(examples: Sequence[Example], signs: Sequence[str]) -> tuple[Floats, Bools]:
    """The signs of each example as a table (n, signs), and which of the examples are answerable."""
    rows = [[getattr(example.evidence, sign) for sign in signs] for example in examples]
    return np.array(rows, np.float64), np.array([example.answerable for example in examples])


def _logistic(features: Floats, labels: Bools) -> Floats:
    """Newton's method on the likelihood with a slight ridge; features (n, d) with their constant column."""
    weights = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        odds = 1 / (1 + np.exp(-np.clip(features @ weights, -60, 60)))
        gradient = features.T @ (labels - odds) - _RIDGE * weights
        curvature = (features * (odds * (1 - odds))[:, None]).T @ features + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-8:  # noqa: PLR2004 - far below the digits that are kept
            break
    return weights


def _spread(figures: Sequence[float]) -> Spread:
    return Spread(round(float(np.mean(figures)), 4), round(float(np.std(figures)), 4))


def _refused(gate: Gate, examples: Sequence[Example]) -> Refused:
    table, answerable = table_of(examples, list(gate.weights))
    logits = gate.logits(table)
    answered = Refused(
        dataset=examples[0].dataset,
        answerable=int(answerable.sum()),
        false_refusals=round(float(np.mean(logits[answerable] < 0)), 4),
    )
    if answerable.all():
        return answered
    return msgspec.structs.replace(
        answered,
        gaps=int((~answerable).sum()),
        gaps_refused=round(float(np.mean(logits[~answerable] < 0)), 4),
        auroc=round(auroc(logits, answerable), 4),
    )
