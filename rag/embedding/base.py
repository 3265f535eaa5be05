"""What every encoder promises; importing this module loads no runtime."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.errors import SetupError

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


class Embedder(Protocol):
    """Turns text into L2-normalised vectors of one embedding space.

    A lone surrogate in a text reads as U+FFFD and a NUL as nothing: no string is refused for its
    characters. Inference happens on the encoder's own thread, so the event loop never waits for it.
    """

    @property
    def fingerprint(self) -> str:
        """Name the build of the vector space: equal fingerprints mean vectors that may be compared."""

    @property
    def model(self) -> str:
        """Name the model, e.g. `all-MiniLM-L6-v2`."""

    @property
    def revision(self) -> str:
        """Name the model's weights."""

    @property
    def dimensions(self) -> int:
        """Count the components of a vector."""

    @property
    def max_pieces(self) -> int:
        """Count the word pieces a text may have, special tokens excluded."""

    async def embed_query(self, text: str) -> Vector:
        """Embed a query ahead of all bulk work; what lies beyond `max_pieces` is not read.

        Shape (dim,). Raises EncoderUnavailable when too many queries wait or the encoder is closed.
        """

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Embed documents, in order, a small batch at a time between queries.

        Shape (n, dim); no texts give (0, dim). Raises TooLarge before any work when a text is over
        `max_pieces`, EncoderUnavailable when too many calls wait or the encoder is closed.
        """

    def embed_sync(self, texts: Sequence[str]) -> Matrix:
        """Embed documents on the calling thread, past the queue: for a process that only ingests.

        Shapes and errors are those of `embed`.
        """

    def count_pieces(self, texts: Sequence[str]) -> list[int]:
        """Count each text's word pieces, special tokens excluded, nothing truncated."""

    def piece_offsets(self, text: str) -> list[tuple[int, int]]:
        """Give each word piece's [start, end) in characters of `text`, in order, without overlap.

        Characters that belong to no piece (white space, controls) fall between the spans.
        """

    async def ping(self) -> None:
        """Return once the encoder's thread has answered; raises EncoderUnavailable when it is stopped."""

    async def close(self) -> None:
        """Stop the encoder; calls that still wait raise EncoderUnavailable. A second close does nothing."""


def fingerprint(**parts: str | int) -> str:
    """Digest what defines a vector space into 16 hex digits; the order of the parts does not matter."""
    lines = "\n".join(f"{name}={parts[name]}" for name in sorted(parts))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def require_space(encoder: Embedder, *, space: str, model: str, revision: str) -> None:
    """Raise `SetupError` unless an embedding space was built with this encoder's weights."""
    if (encoder.model, encoder.revision) != (model, revision):
        raise SetupError(
            f"the embedding space '{space}' was built with {model} ({revision}), and this process runs "
            f"{encoder.model} ({encoder.revision}); see CLOISTER_ENCODER"
        )
