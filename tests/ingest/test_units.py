import re
from collections.abc import Sequence

from ingest import units
from ingest.outline import lay_out
from ingest.partition import Element, Partition
from ingest.units import units_of


class Words:
    def count_pieces(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def piece_offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\S+", text)]


def divide(*elements: Element, room: int = 50) -> list[tuple[str, float]]:
    laid_out = lay_out(Partition("text/plain", None, list(elements)), title=None)
    (section,) = laid_out.sections
    found = units_of(section.blocks, laid_out.text, counter=Words(), room=room)
    return [(laid_out.text[unit.cover : unit.end], unit.cut_cost) for unit in found]


def test_cuts_cost_more_the_more_they_tear_apart() -> None:
    assert divide(
        Element("text", "One. Two:"), Element("list", "- a"), Element("list", "- be it. See."), Element("text", "End.")
    ) == [
        ("One.", units.BETWEEN_BLOCKS),
        ("Two:", units.IN_PARAGRAPH),
        ("- a", units.AFTER_COLON),
        ("- be it.", units.BETWEEN_ITEMS),
        ("See.", units.IN_PARAGRAPH),
        ("End.", units.BETWEEN_BLOCKS),
    ]


def test_a_table_or_code_that_fits_is_dear_to_cut_and_one_that_does_not_is_not() -> None:
    code = "a = 1\n\nb = 2"
    assert divide(Element("code", code)) == [("a = 1", 0), ("b = 2", units.IN_UNIT)]
    assert divide(Element("code", code), room=4) == [("a = 1", 0), ("b = 2", units.BETWEEN_ITEMS)]


def test_a_tables_header_is_not_left_alone() -> None:
    costs = [cost for _, cost in divide(Element("table", "K | V\na | 1\nb | 2", 1))]
    assert costs == [0, units.AFTER_TABLE_HEADER, units.IN_UNIT]


def test_a_long_sentence_is_cut_evenly_at_blanks() -> None:
    text = " ".join(f"w{n}" for n in range(90))
    parts = divide(Element("text", text), room=50)
    assert " ".join(part for part, _ in parts) == text
    assert [len(part.split()) for part, _ in parts] == [30, 30, 30]
    assert [cost for _, cost in parts] == [0, units.IN_SENTENCE, units.IN_SENTENCE]


def test_code_keeps_its_indentation_where_it_is_cut() -> None:
    assert [part for part, _ in divide(Element("code", "if x:\n    a\n\n    b"))] == ["if x:\n    a", "    b"]


def test_rows_after_the_first_know_their_header() -> None:
    laid_out = lay_out(Partition("text/plain", None, [Element("table", "K | V\na | 1", 1)]), title=None)
    first, second = units_of(laid_out.sections[0].blocks, laid_out.text, counter=Words(), room=50)
    assert first.header is None
    assert second.header == (0, len("K | V"))
