"""The drawing against the same encoder written out in numpy, on small random weights."""

import hashlib
import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from rag.embedding.bert_graph import draw
from rag.embedding.graph_cache import GRAPH_VERSION
from rag.errors import SetupError

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 12,
    "vocab_size": 30,
}
# The operators and their wiring, by version: when this test fails, raise GRAPH_VERSION and add a line.
DRAWN = {1: "fb6a19993a7f639c"}

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    rng = np.random.default_rng(7)
    hidden, wide = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (CONFIG["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (CONFIG["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        linear = {"attention.output.dense": (hidden, hidden)}
        linear |= {f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linear |= {"intermediate.dense": (wide, hidden), "output.dense": (hidden, wide)}
        for part, shape in linear.items():
            shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{name}.{norm}.weight": (hidden,), f"{name}.{norm}.bias": (hidden,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_the_graph_computes_the_encoder(weights: dict[str, Array]):
    rows = [[5, 9, 2, 7, 1], [3, 4], [6], [8, 8, 8, 8, 8, 8, 8]]

    vectors = run(draw(CONFIG, weights), rows)

    expected = np.array([encode(row, weights) for row in rows])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_padding_changes_nothing(weights: dict[str, Array]):
    graph = draw(CONFIG, weights)

    together = run(graph, [[3, 4], [6, 1, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9]])

    np.testing.assert_allclose(together[0], run(graph, [[3, 4]])[0], atol=1e-6)


def test_a_changed_drawing_gets_a_new_version(weights: dict[str, Array]):
    nodes = b"".join(node.SerializeToString(deterministic=True) for node in draw(CONFIG, weights).graph.node)

    assert hashlib.sha256(nodes).hexdigest()[:16] == DRAWN[GRAPH_VERSION]


@pytest.mark.parametrize(
    "other", [{"model_type": "mpnet"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}]
)
def test_another_architecture_is_refused_with_the_way_out(other: dict[str, str], weights: dict[str, Array]):
    with pytest.raises(SetupError, match=r"pip install 'cloister\[models\]'"):
        draw(CONFIG | other, weights)


def run(graph: Any, rows: list[list[int]]) -> Array:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    longest = max(map(len, rows))
    tokens = np.array([row + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
    vectors: Array = session.run(["embedding"], {"input_ids": tokens, "attention_mask": mask})[0]
    return vectors


def encode(row: list[int], weights: dict[str, Array]) -> Array:
    def linear(name: str, x: Array) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + CONFIG["layer_norm_eps"])
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][row]
    x = x + weights["embeddings.position_embeddings.weight"][: len(row)]
    x = norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        query, key, value = (linear(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        heads = []
        for head in np.split(np.arange(CONFIG["hidden_size"]), CONFIG["num_attention_heads"]):
            scores = np.exp(query[:, head] @ key[:, head].T / math.sqrt(len(head)))
            heads.append(scores / scores.sum(axis=-1, keepdims=True) @ value[:, head])
        attended = linear(f"{name}.attention.output.dense", np.concatenate(heads, axis=1))
        x = norm(f"{name}.attention.output.LayerNorm", x + attended)
        wide = linear(f"{name}.intermediate.dense", x)
        gelu = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        x = norm(f"{name}.output.LayerNorm", x + linear(f"{name}.output.dense", gelu))
    pooled = x.mean(axis=0)
    vector: Array = pooled / np.linalg.norm(pooled)
    return vector
