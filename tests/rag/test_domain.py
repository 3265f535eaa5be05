"""The nouns travel by JSON to callers and by msgpack to the cache, and come back as they were."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rag import domain
from rag.domain import Answer, Citation, Evidence, Hit, Query, Ranks, Refusal, SearchResult, Sentence, Usage

json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
texts = st.text(max_size=40)
numbers = st.floats(0, 1)
counts = st.integers(0, 2**62)
hits = st.builds(
    Hit,
    document_version=counts,
    page=st.none() | counts,
    heading_path=st.lists(texts, max_size=2),
    text=texts,
    highlights=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3),
    score=numbers,
    similarity=st.none() | numbers,
    ranks=st.builds(Ranks, st.none() | counts, st.none() | counts),
    metadata=st.dictionaries(texts, json, max_size=3),
    explain=st.none(),
)
results = st.builds(
    SearchResult,
    hits=st.lists(hits, max_size=3),
    evidence=st.builds(Evidence, numbers, numbers, numbers),
    corpus_version=counts,
    explain=st.none(),
)
answers = st.builds(
    Answer,
    sentences=st.lists(st.builds(Sentence, texts, st.lists(st.integers(1, 5))), max_size=2),
    citations=st.lists(st.builds(Citation, heading_path=st.lists(texts, max_size=2)), max_size=2),
    refusal=st.none() | st.builds(Refusal, nearest=st.lists(hits, max_size=2)),
    confidence=numbers,
    usage=st.builds(Usage, cost_usd=numbers),
    took_ms=numbers,
)
some = hypothesis_settings(max_examples=50, deadline=None)


@given(results)
@some
def test_a_result_survives_the_cache(result):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(result), type=SearchResult) == result


@given(answers)
@some
def test_an_answer_survives_the_wire_and_the_store(answer):
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Answer) == answer
    assert msgspec.convert(msgspec.to_builtins(answer), Answer) == answer


@pytest.mark.parametrize("name", [name for name, kind in vars(domain).items() if isinstance(kind, type)])
def test_every_noun_is_fixed_once_made_and_says_what_it_is(name):
    kind = getattr(domain, name)
    if not issubclass(kind, msgspec.Struct) or kind is msgspec.Struct:
        return
    assert kind.__struct_config__.frozen
    assert kind.__doc__


def test_a_query_asks_for_ten_hits_from_both_legs():
    query = Query(text="x")
    assert (query.limit, query.offset, query.mode, query.collections, query.filter) == (10, 0, "hybrid", None, None)
    assert not query.highlight
    assert not query.explain


def test_no_collections_is_not_all_of_them():
    assert Query(text="x", collections=()) != Query(text="x")


def test_an_answer_costs_nothing_unless_it_says_so():
    assert msgspec.structs.astuple(Usage()) == (0, 0, 0.0)
