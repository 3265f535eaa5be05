import re
from pathlib import Path

import pytest
from psycopg import sql

import rag.store
from rag.store.statements import STATEMENTS, in_space, statement


def test_each_is_named_after_its_file():
    assert statement("answers.get").startswith("SELECT a.body FROM answers a")
    assert {name.split(".")[0] for name in STATEMENTS} >= {"answers", "chunks", "documents", "ingest", "search"}


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_is_one_statement_and_closed_to_text(name):
    text = STATEMENTS[name]
    assert ";" not in text
    assert re.search(r"(?<!%)%(?![(%])", text) is None, "a positional parameter, or a lone per cent sign"
    assert re.findall(r"{(\w*)}", re.sub(r"'{}'", "", text)) == [
        found for found in re.findall(r"{(\w+)}", text) if found in {"embeddings", "sentences", "store"}
    ]


def test_each_is_used():
    sources = "\n".join(path.read_text("utf-8") for path in Path(rag.store.__file__).parent.glob("*.py"))
    assert {name for name in STATEMENTS if f'"{name}"' not in sources} == set()


def test_a_space_becomes_the_names_of_its_tables():
    text = in_space("chunks.insert_embedding", "minilm_l6_v2").as_string()
    assert text.startswith('INSERT INTO "cloister"."embeddings_minilm_l6_v2" ')
    assert '"cloister"."chunk_sentences_minilm_l6_v2"' in in_space("search.sentences", "minilm_l6_v2").as_string()


def test_no_name_of_a_space_leaves_its_quotes():
    text = in_space("chunks.insert_embedding", 'x"; DROP TABLE chunks; --').as_string()
    assert sql.Identifier("cloister", 'embeddings_x"; DROP TABLE chunks; --').as_string() in text
    assert '"embeddings_x""; DROP TABLE chunks; --"' in text


def test_an_unknown_name_is_an_error_of_the_program():
    with pytest.raises(KeyError):
        statement("answers.forget")
