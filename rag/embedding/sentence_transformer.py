"""Any other model, the GPU, and the reference: sentence-transformers, from the optional `models` extra."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from rag.embedding.base import Matrix, Vector, fingerprint
from rag.embedding.batching import BATCH_TOKENS, Batcher
from rag.embedding.pieces import WordPieces, printable
from rag.errors import EncoderUnavailable, SetupError

# An accelerator is idle at the batches that suit a core's cache.
ACCELERATOR_BATCH_TOKENS = 16_384
# Where a model names no window of its own.
DEFAULT_WINDOW = 512


class SentenceTransformerEncoder:
    """An Embedder on sentence-transformers; queries and documents get the model's prompts for them."""

    def __init__(self, transformer: Any, *, model: str, revision: str, fingerprint: str, batch_tokens: int) -> None:
        self.model = model
        self.revision = revision
        self.fingerprint = fingerprint
        self._transformer = transformer
        self._pieces = WordPieces(transformer.tokenizer.backend_tokenizer.to_str())
        self.dimensions: int = transformer.get_embedding_dimension()
        (prompt,) = self._pieces.count([transformer.prompts.get("document") or ""])
        self.max_pieces: int = _window(transformer) - self._pieces.specials - prompt
        self._batcher = Batcher(
            self._encode,
            self._pieces.count,
            encode_queries=self._encode_queries,
            dimensions=self.dimensions,
            max_pieces=self.max_pieces,
            batch_tokens=batch_tokens,
        )

    @classmethod
    def open(cls, path: Path, *, device: str | None = None, offline: bool = True) -> Self:
        """Open the model in the folder `path`; `device` as torch names it, None for the best there is.

        The caller closes it. Nothing is fetched unless `offline` is False. Raises SetupError when the
        extra is not installed or `path` holds no model.
        """
        if not path.is_dir():
            raise SetupError(f"{path} is not a folder with a sentence-transformers model")
        transformer = _load(path, device=device, offline=offline)
        weights = _digest(_weight_files(path))
        return cls(
            transformer,
            model=path.resolve().name,
            revision=weights[:12],
            fingerprint=fingerprint(
                weights=weights,
                settings=_digest(_setting_files(path)),
                runtime=f"sentence-transformers-{transformer.dtype}",
                norm="l2",
                window=_window(transformer),
            ),
            batch_tokens=BATCH_TOKENS if transformer.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS,
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
        return self._run(self._transformer.encode_document, texts)

    def _encode_queries(self, texts: Sequence[str]) -> Matrix:
        return self._run(self._transformer.encode_query, texts)

    @staticmethod
    def _run(encode: Any, texts: Sequence[str]) -> Matrix:
        clean = [printable(text) for text in texts]
        try:
            raw: Matrix = encode(clean, batch_size=len(clean), show_progress_bar=False)
        except Exception as error:
            raise EncoderUnavailable(f"the encoder failed: {error}") from error
        # Here, not by the library: it normalises in the model's type, and bf16 is off by up to .35 %.
        vectors: Matrix = raw.astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def _load(path: Path, *, device: str | None, offline: bool) -> Any:
    if offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SetupError("this encoder needs an extra: pip install 'cloister[models]'") from error
    try:
        return SentenceTransformer(str(path), device=device, local_files_only=offline)
    except Exception as error:
        raise SetupError(f"cannot load the model in {path}: {error}") from error


def _window(transformer: Any) -> int:
    window: int | None = transformer.max_seq_length
    return window or DEFAULT_WINDOW


def _weight_files(path: Path) -> Iterable[Path]:
    return list(path.rglob("*.safetensors")) or list(path.rglob("*.bin"))


def _setting_files(path: Path) -> Iterable[Path]:
    return [file for file in path.rglob("*") if file.suffix in {".json", ".txt", ".model"}]


def _digest(files: Iterable[Path]) -> str:
    """Digest files one after the other; of a single file, this is its own sha256."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
