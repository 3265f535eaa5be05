"""A cross-encoder of sentence-transformers, from the optional `models` extra: reads query and passage together."""

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from rag.embedding.pieces import printable
from rag.errors import EncoderUnavailable, SetupError

_BATCH: Final = 8  # pairs between two looks at the clock
_WAITING: Final = 8  # callers, the one that is served included


class CrossEncoderReranker:
    """A `rag.retrieval.rerank.Reranker`; one thread judges, a few batches of pairs at a time."""

    def __init__(self, model: Any, *, name: str, timeout_s: float) -> None:
        self.name: str | None = name
        self._model = model
        self._timeout_s = timeout_s
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="reranker")
        self._waiting = 0

    @classmethod
    def open(cls, path: Path, *, timeout_s: float, device: str | None = None) -> Self:
        """Open the model in the folder `path`; `device` as torch names it, None for the best there is.

        The caller closes it. Nothing is fetched. Raises `SetupError` when the extra is not installed or `path` holds
        no model that gives one score a pair.
        """
        if not path.is_dir():
            raise SetupError(f"{path} is not a folder with a cross-encoder")
        return cls(_load(path, device), name=path.resolve().name, timeout_s=timeout_s)

    async def score(self, query: str, texts: Sequence[str], /) -> list[float]:
        """How well each text answers the query, in [0, 1], in order; raises `EncoderUnavailable`."""
        if self._thread is None:
            raise EncoderUnavailable("the reranker is closed")
        if self._waiting >= _WAITING:
            raise EncoderUnavailable("the reranker is busy")
        given_up = threading.Event()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, self._judge, query, list(texts), given_up)
        except TimeoutError as error:
            raise EncoderUnavailable(f"the reranker took over {self._timeout_s:g} s") from error
        finally:
            given_up.set()  # a thread that is still at it stops after its batch
            self._waiting -= 1

    async def close(self) -> None:
        """Stop the thread; a second close does nothing."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)

    def _judge(self, query: str, texts: list[str], given_up: threading.Event) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), _BATCH):
            if given_up.is_set():
                break
            pairs = [(printable(query), printable(text)) for text in texts[start : start + _BATCH]]
            scores += self._predict(pairs)
        return scores

    def _predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        try:
            found = self._model.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
        except Exception as error:
            raise EncoderUnavailable(f"the reranker failed: {error}") from error
        return [float(score) for score in found]


def _load(path: Path, device: str | None) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise SetupError("a reranker needs an extra: pip install 'cloister[models]'") from error
    try:
        model = CrossEncoder(str(path), device=device, local_files_only=True, activation_fn=torch.nn.Sigmoid())
    except Exception as error:
        raise SetupError(f"cannot load the cross-encoder in {path}: {error}") from error
    if model.num_labels != 1:
        raise SetupError(f"the model in {path} gives {model.num_labels} scores a pair, not one")
    return model
