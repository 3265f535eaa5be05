from pathlib import Path

import pytest

from ingest.source import SourceFile, read_source, source_files
from rag.errors import TooLarge, UnreadableDocument


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.md", "a.html.en.utf8", "sub/c.txt", ".hidden.md", ".git/d.md", "picture.png", "sub/e.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_files_come_in_order_without_hidden_ones_and_media(folder: Path):
    assert [f.external_id for f in source_files([folder])] == ["a.html.en.utf8", "b.md", "sub/c.txt", "sub/e.md"]


def test_a_glob_chooses_by_name_at_any_depth(folder: Path):
    assert [f.external_id for f in source_files([folder], glob="*.md")] == ["b.md", "sub/e.md"]


def test_a_named_file_is_taken_whatever_it_is_called(folder: Path):
    assert [f.external_id for f in source_files([folder / "picture.png"])] == ["picture.png"]


def test_reading_stops_at_the_bound(folder: Path):
    file = SourceFile("b.md", folder / "b.md")
    assert read_source(file, max_bytes=4) == b"b.md"
    with pytest.raises(TooLarge, match="over 3 bytes"):
        read_source(file, max_bytes=3)


def test_a_file_that_went_away_is_a_dead_letter_not_a_crash(folder: Path):
    with pytest.raises(UnreadableDocument) as caught:
        read_source(SourceFile("gone", folder / "gone"), max_bytes=10)
    assert caught.value.reason == "unreadable_file"
