import os
import subprocess
import sys

import pytest

from rag.tokens import count_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("お誕生日おめでとう", 9),
    ],
)
def test_counts_are_those_of_cl100k(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_special_tokens_in_a_text_are_text() -> None:
    assert count_tokens("<|endoftext|>") > 1


def test_text_that_cannot_be_encoded_is_counted_all_the_same() -> None:
    assert count_tokens("a \ud800 b") > 0


def test_nothing_is_loaded_before_the_first_count() -> None:
    program = "import rag.tokens as t; print(t._encoding.cache_info().currsize)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment).stdout
    assert output.split() == [b"0"]
