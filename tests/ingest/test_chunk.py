import re
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunk import Chunk, ChunkedDocument, chunk
from ingest.partition import Element, Partition
from rag.embedding.base import Matrix
from rag.tokens import count_tokens

MAX_PIECES = 254


class HashedWords:
    """A real, small encoder: words and marks are its pieces, a text is the bag of its hashed words."""

    max_pieces = MAX_PIECES
    _piece = re.compile(r"\w{1,8}|[^\w\s]")

    def count_pieces(self, texts: Sequence[str]) -> list[int]:
        return [len(self._piece.findall(text)) for text in texts]

    def piece_offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._piece.finditer(text)]

    def embed_sync(self, texts: Sequence[str]) -> Matrix:
        assert all(count <= self.max_pieces for count in self.count_pieces(texts))
        vectors = np.zeros((len(texts), 32), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row, 0] = 0.01
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % 32] += 1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / norms if len(texts) else vectors


ENCODER = HashedWords()


def cut(*elements: Element, title: str | None = None) -> ChunkedDocument:
    return chunk(Partition("text/markdown", None, list(elements)), title=title, encoder=ENCODER)


def heading(text: str, level: int = 0) -> Element:
    return Element("heading", text, level)


def prose(sentences: int, word: str = "word") -> str:
    return " ".join(f"The {word} number {n} is told here in so many plain words." for n in range(sentences))


def squeezed(text: str) -> str:
    return "".join(text.split())


# --- laws -------------------------------------------------------------------------------------------------------------

words = st.text(st.sampled_from("abcdeé .!?:中。🙂\n\t-1אב"), min_size=1, max_size=60)
long_words = st.integers(1, 700).map(lambda n: "x" * n) | st.integers(1, 900).map(lambda n: "ab " * n)
elements = st.builds(
    Element,
    st.sampled_from(["heading", "text", "text", "list", "table", "code"]),
    words | long_words | st.integers(1, 40).map(prose),
    st.integers(0, 3),
    st.none() | st.integers(1, 9),
)
partitions = st.builds(Partition, st.just("text/plain"), st.none() | words, st.lists(elements, max_size=14))


@settings(max_examples=200, deadline=None)
@given(partitions)
def test_chunks_are_slices_that_cover_the_text_in_order(partition: Partition) -> None:
    document = chunk(partition, title=None, encoder=ENCODER)

    position = 0
    uncovered = []
    for ordinal, piece in enumerate(document.chunks):
        assert piece.ordinal == ordinal
        assert piece.text == document.text[piece.start : piece.end]
        assert piece.start >= position, "chunks overlap or are out of order"
        uncovered.append(document.text[position : piece.start])
        position = piece.end
    uncovered.append(document.text[position:])

    known = {squeezed(words) for piece in document.chunks for words in piece.heading_path}
    headings = [squeezed(e.text) for e in partition.elements if e.kind == "heading" and e.text.strip()]
    left = [squeezed(line) for gap in uncovered for line in gap.split("\n\n") if line.strip()]
    assert all(line in headings for line in left), "text was lost"
    title = squeezed(partition.title or "").casefold()
    assert all(line in known or line.casefold() == title for line in left), "a heading was lost"


@settings(max_examples=150, deadline=None)
@given(partitions)
def test_no_chunk_is_longer_than_the_encoder_reads(partition: Partition) -> None:
    for piece in chunk(partition, title=None, encoder=ENCODER).chunks:
        assert piece.text.strip()
        assert piece.pieces == ENCODER.count_pieces([piece.embedded_text])[0] <= MAX_PIECES
        assert piece.tokens == count_tokens(piece.text)


@settings(max_examples=150, deadline=None)
@given(partitions)
def test_every_chunk_has_sentences_in_order_each_with_a_vector(partition: Partition) -> None:
    document = chunk(partition, title=None, encoder=ENCODER)

    for piece in document.chunks:
        position = piece.start
        assert piece.sentences
        for sentence in piece.sentences:
            assert position <= sentence.start < sentence.end <= piece.end
            assert document.text[sentence.start : sentence.end].strip() == document.text[sentence.start : sentence.end]
            position = sentence.end
    texts = [document.text[s.start : s.end] for piece in document.chunks for s in piece.sentences]
    assert np.array_equal(document.sentence_vectors, ENCODER.embed_sync(texts))


@settings(max_examples=60, deadline=None)
@given(partitions)
def test_chunking_is_deterministic(partition: Partition) -> None:
    first, second = (chunk(partition, title=None, encoder=ENCODER) for _ in range(2))
    assert first.chunks == second.chunks


# --- sections ---------------------------------------------------------------------------------------------------------


def test_a_document_without_elements_has_no_chunks() -> None:
    document = cut()
    assert document.chunks == []
    assert document.sentence_vectors.shape[0] == 0


def test_the_path_holds_the_title_and_the_headings_above() -> None:
    document = cut(
        heading("Shipping"),
        heading("Europe", 1),
        Element("text", prose(8)),
        heading("Asia", 1),
        Element("text", prose(8)),
        title="Help",
    )
    assert [piece.heading_path for piece in document.chunks] == [
        ("Help", "Shipping", "Europe"),
        ("Help", "Shipping", "Asia"),
    ]
    assert document.chunks[0].embedded_text == "Help › Shipping › Europe\n" + prose(8)


def test_a_heading_that_repeats_the_title_does_not_lengthen_the_path() -> None:
    document = cut(heading("Reset  it"), Element("text", prose(1)), title="reset it")
    assert document.chunks[0].heading_path == ("reset it",)


def test_the_documents_own_title_serves_when_none_is_given() -> None:
    partition = Partition("text/html", "Own", [Element("text", "Words.")])
    assert chunk(partition, title=None, encoder=ENCODER).chunks[0].heading_path == ("Own",)
    assert chunk(partition, title="Given", encoder=ENCODER).chunks[0].heading_path == ("Given",)


def test_a_higher_heading_ends_the_path_of_a_deeper_one() -> None:
    document = cut(heading("A"), heading("B", 2), Element("text", prose(8)), heading("C", 1), Element("text", prose(8)))
    assert [piece.heading_path for piece in document.chunks] == [("A", "B"), ("A", "C")]


def test_small_siblings_share_a_chunk_that_keeps_their_headings() -> None:
    document = cut(
        heading("FAQ"),
        heading("One?", 1),
        Element("text", "First answer."),
        heading("Two?", 1),
        Element("text", "Second answer."),
    )
    (only,) = document.chunks
    assert only.heading_path == ("FAQ",)
    assert only.text == "One?\n\nFirst answer.\n\nTwo?\n\nSecond answer."
    assert [document.text[s.start : s.end] for s in only.sentences] == ["First answer.", "Second answer."]


def test_small_sections_of_different_parents_stay_apart() -> None:
    document = cut(
        heading("A"),
        heading("a", 1),
        Element("text", prose(7)),
        heading("B"),
        heading("b", 1),
        Element("text", "Short."),
    )
    assert [piece.heading_path for piece in document.chunks] == [("A", "a"), ("B", "b")]


def test_a_small_last_section_joins_the_one_before_when_both_fit() -> None:
    document = cut(heading("A", 1), Element("text", prose(8)), heading("B", 1), Element("text", "Short."), title="T")
    (only,) = document.chunks
    assert only.heading_path == ("T",)
    assert only.text.startswith("A\n\n")
    assert only.text.endswith("B\n\nShort.")


def test_a_heading_with_nothing_under_it_is_kept_as_text() -> None:
    document = cut(heading("Only a heading"))
    (only,) = document.chunks
    assert only.text == "Only a heading"
    assert only.heading_path == ()
    assert len(only.sentences) == 1


def test_a_long_path_loses_its_outer_headings_in_the_embedded_text_only() -> None:
    path = [heading("outer " * 40, 0), heading("middle " * 40, 1), heading("inner", 2)]
    (only,) = cut(*path, Element("text", prose(3))).chunks
    assert len(only.heading_path) == 3
    assert only.prefix == " › ".join(["middle " * 39 + "middle", "inner"])
    assert only.pieces <= MAX_PIECES


def test_an_endless_heading_is_shortened_itself() -> None:
    (only,) = cut(heading("word " * 500), Element("text", "Body.")).chunks
    assert ENCODER.count_pieces([only.prefix])[0] == 64
    assert only.embedded_text.endswith("\nBody.")


# --- long sections ----------------------------------------------------------------------------------------------------


def test_a_long_section_is_cut_where_the_subject_changes() -> None:
    ships = " ".join(f"The ship sails the harbour and the sea with its sails number {n}." for n in range(12))
    bread = " ".join(f"Flour, yeast, salt bake into bread within an oven, loaf {n}." for n in range(12))
    document = cut(Element("text", ships + " " + bread))
    assert len(ships) + 1 in [piece.start for piece in document.chunks]


def test_cuts_fall_between_sentences() -> None:
    document = cut(Element("text", prose(80)))
    assert len(document.chunks) > 3
    assert all(piece.text.startswith("The ") and piece.text.endswith("words.") for piece in document.chunks)


def test_a_sentence_over_the_limit_is_cut_between_words() -> None:
    text = " ".join(f"w{n}" for n in range(1000))
    document = cut(Element("text", text))
    assert len(document.chunks) >= 5
    assert " ".join(piece.text for piece in document.chunks) == text


def test_a_line_without_blanks_is_cut_by_length() -> None:
    class OnePiece(HashedWords):
        _piece = re.compile(r"\S+")

    partition = Partition("text/plain", None, [Element("text", "x" * 9000)])
    document = chunk(partition, title=None, encoder=OnePiece())
    assert "".join(piece.text for piece in document.chunks) == "x" * 9000
    sentences = [s for piece in document.chunks for s in piece.sentences]
    assert max(s.end - s.start for s in sentences) <= 2000


def test_a_tokenizer_that_counts_a_text_above_its_parts_still_fits() -> None:
    class Superlinear(HashedWords):
        def count_pieces(self, texts: Sequence[str]) -> list[int]:
            return [count + count * count // 400 for count in super().count_pieces(texts)]

    partition = Partition("text/plain", None, [Element("text", prose(60))])
    document = chunk(partition, title=None, encoder=Superlinear())
    assert max(piece.pieces for piece in document.chunks) <= MAX_PIECES


# --- tables, code, lists ----------------------------------------------------------------------------------------------


def table(rows: int, *, header: bool = True) -> Element:
    lines = ["Name | Port", *(f"service number {n} | {n}" for n in range(rows))]
    return Element("table", "\n".join(lines), int(header))


def test_a_table_that_fits_is_whole_and_its_rows_are_its_sentences() -> None:
    document = cut(Element("text", prose(14)), table(12), Element("text", prose(14)))
    holders = [piece for piece in document.chunks if "service number" in piece.text]
    assert len(holders) == 1
    assert table(12).text in holders[0].text
    rows = [document.text[s.start : s.end] for s in holders[0].sentences]
    assert "service number 3 | 3" in rows


def test_a_long_table_repeats_its_header_outside_the_span() -> None:
    document = cut(table(150))
    first, *others = document.chunks
    assert len(others) > 2
    assert first.context == ""
    assert first.text.startswith("Name | Port\nservice")
    for piece in others:
        assert piece.context == "Name | Port"
        assert "Name | Port" not in piece.text
        assert piece.embedded_text == "Name | Port\n" + piece.text
        assert re.fullmatch(r"service number \d+ \| \d+", piece.text.split("\n")[0])


def test_a_table_without_a_header_repeats_nothing() -> None:
    assert {piece.context for piece in cut(table(150, header=False)).chunks} == {""}


def test_a_header_as_long_as_a_paragraph_is_not_repeated() -> None:
    wide = " | ".join(f"column {n}" for n in range(60))
    rows = "\n".join(" | ".join(str(n * m) for m in range(60)) for n in range(10))
    assert {piece.context for piece in cut(Element("table", f"{wide}\n{rows}", 1)).chunks} == {""}


def test_code_that_fits_is_not_cut() -> None:
    code = "\n".join(f"    value_{n} = compute({n})" for n in range(20))
    document = cut(Element("text", prose(15)), Element("code", code), Element("text", prose(15)))
    assert sum(code.strip() in piece.text for piece in document.chunks) == 1


def test_long_code_is_cut_between_lines_and_keeps_its_indentation() -> None:
    lines = [f"    value_{n} = compute({n})" for n in range(150)]
    document = cut(Element("code", "\n".join(lines)))
    assert len(document.chunks) > 3
    assert [line for piece in document.chunks for line in piece.text.split("\n")] == lines


def test_a_few_lines_of_code_are_one_sentence() -> None:
    document = cut(Element("code", "a = 1\nb = 2\n\nc = 3"))
    (only,) = document.chunks
    assert [document.text[s.start : s.end] for s in only.sentences] == ["a = 1\nb = 2", "c = 3"]


def test_list_items_stand_on_lines_of_their_own_and_their_markers_are_no_sentence() -> None:
    document = cut(Element("text", "Do this:"), Element("list", "1. Open it."), Element("list", "- Wait.", 1))
    assert document.text == "Do this:\n\n1. Open it.\n  - Wait."
    (only,) = document.chunks
    assert [document.text[s.start : s.end] for s in only.sentences] == ["Do this:", "Open it.", "Wait."]


def test_a_lead_in_stays_with_what_it_introduces() -> None:
    steps = [
        Element("list", f"{n}. Press the button of step {n} and wait for the light to come on.") for n in range(1, 9)
    ]
    document = cut(Element("text", prose(14)), Element("text", "Follow these steps:"), *steps)
    assert not any(piece.text.endswith("steps:") for piece in document.chunks)


# --- scripts and pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "今日は良い天気です。" * 120,
        "👩‍👩‍👧‍👦 family 🙂 " * 200,
        "שלום עולם, זה משפט ארוך. " * 100,
        "e\u0301" * 600,
    ],
)
def test_every_script_is_covered(text: str) -> None:
    document = cut(Element("text", text.strip()))
    assert squeezed("".join(piece.text for piece in document.chunks)) == squeezed(text)
    assert max(piece.pieces for piece in document.chunks) <= MAX_PIECES


def test_a_family_of_emoji_is_not_taken_apart() -> None:
    family = "👩‍👩‍👧‍👦"
    document = cut(Element("text", family * 100))
    assert len(document.chunks) > 1
    assert all(piece.text.strip(family) == "" and not piece.text.startswith("\u200d") for piece in document.chunks)
    assert not any(piece.text.endswith("\u200d") for piece in document.chunks)


def test_a_chunk_carries_the_page_it_begins_on() -> None:
    document = cut(Element("text", prose(15), page=3), Element("text", prose(15, "thing"), page=4))
    pages = [piece.page for piece in document.chunks]
    assert (pages[0], pages[-1]) == (3, 4)


def test_equal_content_has_an_equal_digest_wherever_it_stands() -> None:
    first, second = (
        cut(*before, heading("A"), Element("text", prose(8))).chunks for before in ([], [Element("text", prose(9))])
    )
    assert first[-1].start != second[-1].start
    assert first[-1].content_sha256 == second[-1].content_sha256
    assert cut(heading("B"), Element("text", prose(8))).chunks[-1].content_sha256 != first[-1].content_sha256


def test_chunk_is_immutable() -> None:
    piece: Chunk = cut(Element("text", "Words.")).chunks[0]
    with pytest.raises(AttributeError):
        piece.text = "other"  # type: ignore[misc]
