"""The statements of the house, read from `sql/*.sql` once: `-- name: file.statement`, one English line, the SQL."""

import re
from importlib.resources import files
from typing import Final, LiteralString, cast

from psycopg import sql

_HEAD: Final = re.compile(r"^-- name: (\w+)\n-- (.+)\n", re.MULTILINE)


def _read() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    for file in sorted(files("rag.store").joinpath("sql").iterdir(), key=lambda f: f.name):
        parts = _HEAD.split(file.read_text("utf-8"))
        for name, _, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            key = f"{file.name.removesuffix('.sql')}.{name}"
            if key in found:
                raise ValueError(f"two statements are named {key}")
            # The files are part of the program, as a literal is: nothing from outside reaches them.
            found[key] = cast("LiteralString", body.strip().removesuffix(";"))
    return found


STATEMENTS: Final = _read()


def statement(name: str) -> LiteralString:
    """The statement of that name."""
    return STATEMENTS[name]


def in_store(name: str, table: str) -> sql.Composed:
    """A statement over one table of the schema: `{store}` becomes that table."""
    return sql.SQL(STATEMENTS[name]).format(store=sql.Identifier("cloister", table))


def in_space(name: str, space: str) -> sql.Composed:
    """A statement over one embedding space: `{embeddings}` and `{sentences}` become that space's tables."""
    return sql.SQL(STATEMENTS[name]).format(
        embeddings=sql.Identifier("cloister", f"embeddings_{space}"),
        sentences=sql.Identifier("cloister", f"chunk_sentences_{space}"),
    )
