"""Which texts run through the model together, and when.

A run costs a fixed 1.5 ms and then about .13 ms a token on one core, padding included; above some 256
tokens the activations leave the cache and nothing is gained. So: texts of like length, small batches.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rag.embedding.base import Matrix, Vector
from rag.embedding.thread import EncoderThread, Steps
from rag.errors import EncoderUnavailable, TooLarge

BATCH_TOKENS = 256
# Each text also carries a first and a last special token.
SPECIALS = 2
# The fixed cost of a run, in tokens: padding beyond it costs more than another run.
RUN_TOKENS = 12
# Texts counted between two looks at the queue: less time than one batch through the model takes.
COUNTED_PER_STEP = 64


class Batcher:
    """Puts an encoder behind one thread: micro-batched queries first, documents in small batches between.

    `encode` takes texts of like length to (n, dimensions), truncating what is over `max_pieces`; `count`
    gives each text's word pieces, special tokens excluded; `encode_queries` is for a model that reads a
    query differently. `batch_tokens` bounds a batch, padding included, and so how long a query may have
    to wait for documents.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Matrix],
        count: Callable[[Sequence[str]], list[int]],
        *,
        encode_queries: Callable[[Sequence[str]], Matrix] | None = None,
        dimensions: int,
        max_pieces: int,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self._encode = encode
        self._encode_queries = encode_queries or encode
        self._count = count
        self._dimensions = dimensions
        self._max_pieces = max_pieces
        self._batch_tokens = batch_tokens
        self._thread = EncoderThread(self._encode_group)

    async def embed_query(self, text: str) -> Vector:
        """Embed a query ahead of all documents."""
        return await asyncio.wrap_future(self._thread.query(text))

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed documents between queries."""
        return await asyncio.wrap_future(self._thread.job(self._steps(list(texts))))

    def embed_sync(self, texts: Sequence[str]) -> Matrix:
        """Embed documents on the calling thread."""
        if self._thread.closed:
            raise EncoderUnavailable("the encoder is stopped")
        steps = self._steps(texts)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                vectors: Matrix = end.value
                return vectors

    async def ping(self) -> None:
        """Return once the thread has answered."""
        await asyncio.wrap_future(self._thread.ping())

    async def close(self) -> None:
        """Stop the thread, without blocking the event loop."""
        await asyncio.to_thread(self._thread.close)

    def _encode_group(self, texts: Sequence[str]) -> Iterator[tuple[int, Vector]]:
        lengths = [min(pieces, self._max_pieces) for pieces in self._count(texts)]
        for batch in plan_batches(lengths, self._batch_tokens):
            vectors = self._encode_queries([texts[index] for index in batch])
            for index, vector in zip(batch, vectors, strict=True):
                # A copy: a row kept in a cache must not keep its whole group alive.
                yield index, vector.copy()

    def _steps(self, texts: Sequence[str]) -> Steps[Matrix]:
        lengths: list[int] = []
        for start in range(0, len(texts), COUNTED_PER_STEP):
            lengths += self._count(texts[start : start + COUNTED_PER_STEP])
            yield
        self._refuse_truncation(lengths)
        vectors = np.empty((len(texts), self._dimensions), dtype=np.float32)
        for batch in plan_batches(lengths, self._batch_tokens):
            vectors[batch] = self._encode([texts[index] for index in batch])
            yield
        return vectors

    def _refuse_truncation(self, lengths: Sequence[int]) -> None:
        for index, pieces in enumerate(lengths):
            if pieces > self._max_pieces:
                raise TooLarge(f"text {index} has {pieces} word pieces, the encoder reads {self._max_pieces}")


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group the indices of texts of like length, shortest first; every index comes once.

    `lengths` are in word pieces. A batch is at most `batch_tokens`, special tokens and padding included,
    unless it is a single text. A text
    joins the batch before it only where the padding this adds is cheaper than a run of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        if batches and _joins(len(batches[-1]), lengths[batches[-1][-1]], length, batch_tokens):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _joins(size: int, longest: int, length: int, batch_tokens: int) -> bool:
    return (length - longest) * size <= RUN_TOKENS and (length + SPECIALS) * (size + 1) <= batch_tokens
