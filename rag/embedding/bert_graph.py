"""Draws a BERT sentence encoder as an ONNX graph, from the model's published weights, without torch.

    word + position + type -> LayerNorm -> N x (attention, feed-forward) -> masked mean -> L2

Only standard operators: ONNX Runtime's own Attention and SkipLayerNormalization were measured slower.
Why, and the numbers: docs/decisions/0002-encoder-graph-without-torch.md
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rag.errors import SetupError

Weights = Mapping[str, NDArray[np.float32]]

OPSET = 20
# Subtracted from the scores of padding: its softmax is then exactly 0 in fp32.
MASKED = -1e9


def draw(config: Mapping[str, Any], weights: Weights) -> onnx.ModelProto:
    """Draw the encoder of a Hugging Face BERT `config` and its tensors.

    Inputs `input_ids`, `attention_mask`: int64 (batch, length), at least one token a row. Output
    `embedding`: float32 (batch, hidden), L2-normalised. Raises SetupError for another architecture.
    """
    _refuse_other_architectures(config)
    return _Drawing(config, weights).model()


class _Drawing:
    """The nodes drawn so far; each method adds some and returns the name of their result."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self._layers: int = config["num_hidden_layers"]
        self._hidden: int = config["hidden_size"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def model(self) -> onnx.ModelProto:
        padding = self._padding()
        tokens = self._embed()
        for number in range(self._layers):
            tokens = self._layer(f"encoder.layer.{number}", tokens, padding)
        self._pool(tokens)
        graph = helper.make_graph(
            self._nodes,
            "sentence_encoder",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self._hidden])],
            list(self._constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def _embed(self) -> str:
        length = self._node("Shape", "input_ids", start=1, end=2)
        # A single text is all of type 0, so its type vector is added to every position once, here.
        by_position = (
            self._weights["embeddings.position_embeddings.weight"]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        words = self._node("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        positions = self._node("Slice", self._constant("positions", by_position), self._ints(0), length)
        return self._norm("embeddings.LayerNorm", self._node("Add", words, positions))

    def _padding(self) -> str:
        mask = self._node("Cast", "attention_mask", to=TensorProto.FLOAT)
        broadcast = self._node("Unsqueeze", mask, self._ints(1, 2))
        padded = self._node("Sub", self._float(1.0), broadcast)
        return self._node("Mul", padded, self._float(MASKED))

    def _layer(self, name: str, tokens: str, padding: str) -> str:
        attended = self._attention(f"{name}.attention.self", tokens, padding)
        projected = self._linear(f"{name}.attention.output.dense", attended)
        tokens = self._norm(f"{name}.attention.output.LayerNorm", self._node("Add", projected, tokens))
        widened = self._node("Gelu", self._linear(f"{name}.intermediate.dense", tokens))
        narrowed = self._linear(f"{name}.output.dense", widened)
        return self._norm(f"{name}.output.LayerNorm", self._node("Add", narrowed, tokens))

    def _attention(self, name: str, tokens: str, padding: str) -> str:
        # The scale goes into the query's weights, where it costs nothing per token.
        scale = 1 / math.sqrt(self._hidden // self._heads)
        query = self._per_head(self._linear(f"{name}.query", tokens, scale=scale), perm=[0, 2, 1, 3])
        key = self._per_head(self._linear(f"{name}.key", tokens), perm=[0, 2, 3, 1])
        value = self._per_head(self._linear(f"{name}.value", tokens), perm=[0, 2, 1, 3])
        scores = self._node("Add", self._node("MatMul", query, key), padding)
        mixed = self._node("MatMul", self._node("Softmax", scores, axis=-1), value)
        joined = self._node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._node("Reshape", joined, self._ints(0, 0, self._hidden))

    def _per_head(self, tokens: str, *, perm: list[int]) -> str:
        split = self._node("Reshape", tokens, self._ints(0, 0, self._heads, self._hidden // self._heads))
        return self._node("Transpose", split, perm=perm)

    def _pool(self, tokens: str) -> None:
        mask = self._node("Cast", "attention_mask", to=TensorProto.FLOAT)
        summed = self._node("MatMul", self._node("Unsqueeze", mask, self._ints(1)), tokens)
        # The mean's divisor is a positive factor of the whole row: L2 normalisation cancels it.
        pooled = self._node("Squeeze", summed, self._ints(1))
        length = self._node("ReduceL2", pooled, self._ints(1), keepdims=1)
        self._nodes.append(helper.make_node("Div", [pooled, length], ["embedding"]))

    def _linear(self, name: str, tokens: str, *, scale: float = 1.0) -> str:
        factor = np.float32(scale)
        weight = self._constant(f"{name}.weight", self._weights[f"{name}.weight"].T * factor)
        bias = self._constant(f"{name}.bias", self._weights[f"{name}.bias"] * factor)
        return self._node("Add", self._node("MatMul", tokens, weight), bias)

    def _norm(self, name: str, tokens: str) -> str:
        gain, shift = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._node("LayerNormalization", tokens, gain, shift, axis=-1, epsilon=self._epsilon)

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _ints(self, *values: int) -> str:
        return self._constant(f"ints{values}", np.array(values, dtype=np.int64))

    def _float(self, value: float) -> str:
        return self._constant(f"float{value}", np.array(value, dtype=np.float32))

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name


def _refuse_other_architectures(config: Mapping[str, Any]) -> None:
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for field, value in expected.items():
        if config.get(field, value) != value:
            raise SetupError(
                f"the encoder graph is drawn for {field}={value!r}, this model has {config[field]!r}: "
                "run it with sentence-transformers (pip install 'cloister[models]')"
            )
