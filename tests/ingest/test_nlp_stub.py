import sys

from ingest import nlp_stub
from ingest.partition import warm_up


def test_the_library_uses_the_stand_in_and_asks_for_no_model() -> None:
    warm_up()
    from unstructured.partition import text_type

    assert text_type.sent_tokenize is nlp_stub.sent_tokenize
    assert "spacy" not in sys.modules


def test_sentences_words_and_verbs() -> None:
    assert nlp_stub.sent_tokenize("One. Two? Three") == ["One.", "Two?", "Three"]
    assert nlp_stub.word_tokenize("It's 5.") == ["It", "'", "s", "5", "."]
    assert dict(nlp_stub.pos_tag("She opens the installed lid")) == {
        "She": "NN",
        "opens": "VB",
        "the": "NN",
        "installed": "VB",
        "lid": "NN",
    }
