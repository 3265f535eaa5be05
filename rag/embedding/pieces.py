"""Word pieces: the unit in which an encoder's window, its batches and its chunks are measured."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

# The encoder is one thread by design; the tokenizer's own pool would compete with it, and warns on fork.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_SURROGATE = re.compile("[\ud800-\udfff]")


class WordPieces:
    """Cuts text with a model's own tokenizer, never truncating and never padding."""

    def __init__(self, definition: str) -> None:
        self._tokenizer = Tokenizer.from_str(definition)
        # A packaged tokenizer.json may carry both: all-MiniLM-L6-v2 truncates and pads to 128.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.specials: int = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a `tokenizer.json`."""
        return cls(path.read_text(encoding="utf-8"))

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Give each text's token ids, special tokens included."""
        # Not `encode`: it holds the interpreter lock, 0.2 s for a document of 400 kB.
        encodings = self._tokenizer.encode_batch_fast([printable(text) for text in texts])
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count each text's word pieces, special tokens excluded."""
        clean = [printable(text) for text in texts]
        return [len(each) for each in self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Give each word piece's [start, end) in characters of `text`."""
        (encoding,) = self._tokenizer.encode_batch([printable(text)], add_special_tokens=False)
        return list(encoding.offsets)


def printable(text: str) -> str:
    """Replace each lone surrogate by U+FFFD, one character for one, so that offsets stay true."""
    return _SURROGATE.sub("\ufffd", text)
