from ingest.outline import lay_out
from ingest.partition import Element, Kind, Partition


def outline_of(*parts: tuple[Kind, str, int], title: str | None = None) -> list[tuple[tuple[str, ...], list[str]]]:
    laid_out = lay_out(Partition("text/plain", None, [Element(*part) for part in parts]), title=title)
    return [
        (section.path, [laid_out.text[block.start : block.end] for block in section.blocks])
        for section in laid_out.sections
    ]


def test_elements_stand_apart_by_a_blank_line_and_list_items_by_a_line() -> None:
    elements = [
        Element("heading", "H"),
        Element("text", " One. "),
        Element("list", "- a"),
        Element("list", "- b", 1),
        Element("code", "\n  x\n  y\n"),
        Element("text", "  "),
    ]
    laid_out = lay_out(Partition("text/plain", None, elements), title=None)
    assert laid_out.text == "H\n\nOne.\n\n- a\n  - b\n\n  x\n  y"


def test_a_section_is_what_stands_under_one_path() -> None:
    assert outline_of(
        ("text", "intro", 0),
        ("heading", "A", 0),
        ("text", "a", 0),
        ("heading", "B", 2),
        ("text", "b", 0),
        ("heading", "C", 1),
        ("text", "c", 0),
    ) == [((), ["intro"]), (("A",), ["a"]), (("A", "B"), ["b"]), (("A", "C"), ["c"])]


def test_the_title_opens_every_path() -> None:
    assert outline_of(("text", "intro", 0), ("heading", "A", 0), ("text", "a", 0), title="T") == [
        (("T",), ["intro"]),
        (("T", "A"), ["a"]),
    ]


def test_a_heading_that_says_the_title_again_adds_nothing() -> None:
    assert outline_of(("heading", "the  TITLE", 0), ("heading", "A", 1), ("text", "a", 0), title="The title") == [
        (("The title", "A"), ["a"])
    ]


def test_a_heading_with_nothing_under_it_is_a_section_of_its_own() -> None:
    assert outline_of(
        ("heading", "A", 0), ("heading", "B", 1), ("heading", "C", 1), ("text", "c", 0), ("heading", "D", 0)
    ) == [
        (("A",), ["B"]),
        (("A", "C"), ["c"]),
        ((), ["D"]),
    ]


def test_a_section_knows_where_its_headings_begin() -> None:
    elements = [
        Element("heading", "A"),
        Element("heading", "B", 1),
        Element("text", "b"),
        Element("heading", "C", 1),
        Element("text", "c"),
    ]
    first, second = lay_out(Partition("text/plain", None, elements), title=None).sections
    assert [first.start_under(depth) for depth in range(3)] == [0, 3, 6]
    assert [second.start_under(depth) for depth in range(3)] == [None, 9, 12]
