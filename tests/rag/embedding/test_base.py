import subprocess
import sys

import pytest

from rag.embedding.base import fingerprint

HEAVY = ["onnx", "onnxruntime", "tokenizers", "sentence_transformers", "torch"]


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_promise_loads_no_runtime():
    assert loaded_by("rag.embedding.base") == set()


def test_the_default_encoder_loads_neither_torch_nor_what_only_a_first_start_needs():
    assert loaded_by("rag.embedding.onnx_encoder") == {"onnxruntime", "tokenizers"}


def test_the_optional_encoder_can_be_imported_without_its_extra():
    assert loaded_by("rag.embedding.sentence_transformer") == {"tokenizers"}


def test_a_fingerprint_does_not_depend_on_the_order_of_its_parts():
    assert fingerprint(weights="a", window=256) == fingerprint(window=256, weights="a")


@pytest.mark.parametrize("other", [{"weights": "b", "window": 256}, {"weights": "a", "window": 128}, {"weights": "a"}])
def test_a_fingerprint_changes_with_every_part(other: dict[str, str | int]):
    assert fingerprint(**other) != fingerprint(weights="a", window=256)


def test_a_fingerprint_is_short_hex():
    assert len(fingerprint(weights="a")) == 16
    assert int(fingerprint(weights="a"), 16) >= 0
