"""Which files a load is made of, and what each is called: in order, bounded, hidden ones and media left out."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rag.errors import TooLarge, UnreadableDocument

# No text is ever found in these; anything else is looked at, and a dead letter says what it was.
MEDIA: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".webp", ".bmp", ".mp3", ".mp4", ".mov", ".avi", ".webm"}
    | {".css", ".js", ".map", ".woff", ".woff2", ".ttf", ".otf", ".pyc", ".so", ".lock"}
)


class SourceFile(msgspec.Struct, frozen=True):
    """A file to load; `external_id` is its path below the folder that was named, with forward slashes."""

    external_id: str
    path: Path


def source_files(paths: Sequence[Path], *, glob: str | None = None) -> Iterator[SourceFile]:
    """The files of these paths in a stable order; a path that names a file is taken whatever it is called."""
    for path in paths:
        if path.is_file():
            yield SourceFile(path.name, path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(folder) / name
                if _wanted(file, glob):
                    yield SourceFile(file.relative_to(path).as_posix(), file)


def read_source(file: SourceFile, *, max_bytes: int) -> bytes:
    """The bytes of a file; raises `TooLarge` without having read past the bound, `UnreadableDocument` for the rest."""
    try:
        with file.path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableDocument(f"{error.strerror}", code="unreadable_file", hint="check its permissions") from error
    if len(data) > max_bytes:
        raise TooLarge(f"over {max_bytes:,} bytes; split it, or raise CLOISTER_MAX_DOCUMENT_BYTES")
    return data


def _wanted(file: Path, glob: str | None) -> bool:
    if file.name.startswith(".") or not file.is_file():
        return False
    return file.match(glob) if glob else file.suffix.lower() not in MEDIA
