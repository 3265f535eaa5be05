import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sentences import sentence_spans


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["One.", "Two!", "Three?", "No end"],
        ["Dr. Smith met Mrs. Jones at 5 p.m. on Jan. 3.", "Then he left."],
        ["It costs $3.50 or 3,5 €.", "Version 2.4.1 is newer than v2.0."],
        ["Edit httpd.conf.", "See https://x.org/a.b?c=d. for more."],
        ["Load mod_ssl.", "mod_ssl.so is a module."],
        ["Use one, e.g. the first, i.e. this.", "Apples, pears, etc.", "The rest is yours."],
        ["He moved to the U.S. in 1990.", "He stayed in the U.S.", "The end."],
        ["J. R. R. Tolkien wrote it.", "He smiled."],
        ['"Really?" he asked.', "'No.'", "She left (at once!).", "He stayed."],
        ["(See Fig. 3.)", "Another one."],
        ["Wait... then go.", "Wait…", "Then stop."],
        ["No. 5 is alive.", "Is No. 6?"],
        ["It takes 5 sec. and no more.", "It ends."],
        ["Wirklich?", "Ja.", "Am Montag z.B. nicht."],
        ["¿Quién es?", "¡Hola!", "Él."],
    ],
)
def test_sentences_written_one_after_another_come_apart_again(sentences: list[str]) -> None:
    assert split(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences", [["这是第一句。", "这是第二句！", "“第三句？”", "第四句"], ["今日は。", "「そう。」", "3.5円です。"]]
)
def test_cjk_sentences_need_no_blank_between_them(sentences: list[str]) -> None:
    assert split("".join(sentences)) == sentences


def test_other_scripts_have_their_own_stops() -> None:
    assert split("مرحبا؟ نعم. हाँ। दूसरा वाक्य।") == ["مرحبا؟", "نعم.", "हाँ।", "दूसरा वाक्य।"]


def test_every_line_ends_a_sentence_and_item_markers_are_outside() -> None:
    text = "Steps\n1. Open it. Wait.\n  - first\n  * second\n(3) third\nb) fourth\n"
    assert split(text) == ["Steps", "Open it.", "Wait.", "first", "second", "third", "fourth"]


def test_a_number_that_is_not_a_marker_stays() -> None:
    assert split("2024 was warm.") == ["2024 was warm."]
    assert split("-5 degrees") == ["-5 degrees"]


@pytest.mark.parametrize("text", ["", "   ", "\n\n\t\n"])
def test_nothing_has_no_sentences(text: str) -> None:
    assert sentence_spans(text) == []


@given(st.text(st.sampled_from('abZ .!?。”")(\n\t-1中\u2028\u00a0…:*')) | st.text())
def test_spans_are_in_order_apart_trimmed_and_lose_only_markers(text: str) -> None:
    position = 0
    for start, end in sentence_spans(text):
        assert position <= start < end
        assert text[start:end] == text[start:end].strip()
        gap = text[position:start].strip()
        assert len(gap) < 7, "more than a marker was left out"
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize("unit", [".", ".)", "a.", "1. ", "- ", "(", '."', "。”", "…"])
def test_long_runs_of_marks_take_linear_time(unit: str) -> None:
    # Quadratic matching would run past the test's time limit on this.
    assert len(sentence_spans(unit * 400_000)) >= 0
