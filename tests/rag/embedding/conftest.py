"""The packaged encoder, opened once: it is the behaviour under test, and opening it costs a second."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.embedding.onnx_encoder import OnnxEncoder


@pytest.fixture(scope="session")
def encoder_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoder_cache")


@pytest.fixture(scope="session")
def encoder(encoder_cache: Path) -> Iterator[OnnxEncoder]:
    encoder = OnnxEncoder.open(encoder_cache)
    yield encoder
    asyncio.run(encoder.close())
