"""Filters against an interpreter of Mongo's operators in Python; PostgreSQL evaluates the compiled ones."""

import json
import operator
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rag.errors import InvalidInput
from rag.retrieval.filters import compile_filter

ORDERS = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}

# ---------------------------------------------------------------- the reference


def matches(document: dict[str, Any], query: dict[str, Any]) -> bool:
    """Whether a document's metadata answers to a filter."""
    return all(part(document, key, value) for key, value in query.items())


def part(document: dict[str, Any], key: str, value: Any) -> bool:
    if key == "$and":
        return all(matches(document, one) for one in value)
    if key == "$or":
        return any(matches(document, one) for one in value)
    if key == "$not":
        return not matches(document, value)
    return field(look_up([document], key.split(".")), value)


def field(found: list[Any], value: Any) -> bool:
    if not isinstance(value, dict):
        return equals(found, value)
    return all(operation(found, name, operand) for name, operand in value.items())


def operation(found: list[Any], name: str, operand: Any) -> bool:
    if name in ORDERS:
        return any(kind(one) == kind(operand) and ORDERS[name](one, operand) for one in scalars(found))
    return {
        "$eq": lambda: equals(found, operand),
        "$ne": lambda: not equals(found, operand),
        "$in": lambda: any(equals(found, one) for one in operand),
        "$nin": lambda: not any(equals(found, one) for one in operand),
        "$exists": lambda: bool(found) == operand,
        "$not": lambda: not field(found, operand),
    }[name]()


def equals(found: list[Any], operand: Any) -> bool:
    return any(kind(one) == kind(operand) and one == operand for one in scalars(found))


def look_up(items: list[Any], steps: list[str]) -> list[Any]:
    """What stands at a path; a step goes into each object of a list."""
    for step in steps:
        inside = [one for item in items for one in (item if isinstance(item, list) else [item])]
        items = [one[step] for one in inside if isinstance(one, dict) and step in one]
    return items


def scalars(found: list[Any]) -> list[Any]:
    """A value stands for itself and a list for each of its members."""
    members = [one for item in found for one in (item if isinstance(item, list) else [item])]
    return [one for one in members if not isinstance(one, list | dict)]


def kind(value: Any) -> str:
    """Values of two kinds are never equal and never in an order: True is not 1."""
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


# ---------------------------------------------------------------- what is tried

FIELDS = ["a", "b", "c"]
numbers = st.integers(-3, 3) | st.sampled_from([0.5, -0.0, 1.0, 1e300, 2**53 + 1, -1e-7])
words = st.sampled_from(["", "x", "y", "xy", "é", "世", "1", "true", 'q"u\\o', "%"])
scalar_values = numbers | words | st.booleans() | st.none()
values = st.recursive(
    scalar_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=3)
paths = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3).map(".".join)

orders = st.fixed_dictionaries({}, optional=dict.fromkeys(ORDERS, numbers | words))
operations = st.fixed_dictionaries(
    {},
    optional={
        "$eq": scalar_values,
        "$ne": scalar_values,
        "$in": st.lists(scalar_values, max_size=3),
        "$nin": st.lists(scalar_values, max_size=3),
        "$exists": st.booleans(),
        "$gt": numbers | words,
        "$lte": numbers | words,
    },
).filter(bool)
conditions = st.recursive(
    operations | orders.filter(bool), lambda inner: st.builds(lambda one: {"$not": one}, inner), max_leaves=2
)
clauses = st.dictionaries(paths, scalar_values | conditions, max_size=3)
filters = st.recursive(
    clauses,
    lambda inner: st.one_of(
        st.builds(lambda some: {"$and": some}, st.lists(inner, max_size=3)),
        st.builds(lambda some: {"$or": some}, st.lists(inner, max_size=3)),
        st.builds(lambda one: {"$not": one}, inner),
        st.builds(lambda one, more: {**one, "$or": more}, clauses, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)
without_zeros = st.characters(exclude_characters="\0", exclude_categories=["Cs"])

many = hypothesis_settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
some = hypothesis_settings(many, max_examples=80)


@pytest.fixture(scope="module")
def connection(servers) -> Iterator[psycopg.Connection]:
    with psycopg.connect(servers.app_url, autocommit=True) as opened:
        yield opened


def selected(connection: psycopg.Connection, found: list[dict[str, Any]], query: dict[str, Any]) -> list[bool]:
    """Which of the documents PostgreSQL selects."""
    rows = connection.execute(
        "SELECT value @@ %s::jsonpath IS TRUE FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY ORDER BY ordinality",
        [compile_filter(query), json.dumps(found)],
    ).fetchall()
    return [one for (one,) in rows]


@given(found=st.lists(documents, min_size=1, max_size=6), query=filters)
@example(found=[{"a": [[1]]}, {"a": [1]}, {"a": 1}, {}], query={"a": 1})
@example(found=[{"a": [[1]]}, {"a": [1]}, {"a": 1}, {}], query={"a": {"$ne": 1}})
@example(found=[{"a": None}, {}, {"a": []}, {"a": {}}], query={"a": None})
@example(found=[{"a": None}, {}, {"a": []}, {"a": {}}], query={"a": {"$exists": False}})
@example(found=[{"a": "x"}, {"a": 1}, {}], query={"a": {"$not": {"$gt": 0}}})
@example(found=[{"a": True}, {"a": 1}, {"a": "true"}], query={"a": True})
@example(found=[{"a": [{"b": 1}, {"b": 2}]}, {"a": {"b": [2]}}, {"a": [[{"b": 2}]]}], query={"a.b": 2})
@example(found=[{"a": [0, "x", 9]}], query={"a": {"$gt": 5, "$lt": 1}})
@many
def test_what_matches_is_what_mongo_would_match(connection, found, query):
    assert selected(connection, found, query) == [matches(document, query) for document in found]


@given(document=documents, query=filters)
@some
def test_a_filter_and_its_negation_share_out_the_documents(connection, document, query):
    yes, no = (selected(connection, [document], one)[0] for one in (query, {"$not": query}))
    assert yes is not no


def test_empty_ones(connection):
    found = [{}, {"a": 1}]
    assert selected(connection, found, {}) == [True, True]
    assert selected(connection, found, {"$and": []}) == [True, True]
    assert selected(connection, found, {"$or": []}) == [False, False]
    assert selected(connection, found, {"a": {"$in": []}}) == [False, False]
    assert selected(connection, found, {"a": {"$nin": []}}) == [True, True]
    assert selected(connection, found, {"$not": {}}) == [False, False]


# ---------------------------------------------------------------- text from outside

BREAKOUTS = [
    '"',
    "'",
    "\\",
    '\\"',
    '" || (1 == 1) || "',
    '")) || exists($.*) || (("',
    "') OR 1=1 --",
    "${a}",
    "$.a",
    "@",
    "*",
    "?(@ == 1)",
    "[*]",
    "%s",
    "%(tenant)s",
    "\n\r\t\x08\x0c\x1b\x7f",
    "\u2028\u2029\ufeff",
    "\U0001f6b2",
    "/*",
    "like_regex",
    "\\u0022",
    "\\x22",
]


@pytest.mark.parametrize("text", BREAKOUTS)
def test_text_stays_text(connection, text):
    found = [{"k": text}, {"k": "other"}, {}, {text: 1}, {text: 2}]
    assert selected(connection, found, {"k": text}) == [True, False, False, False, False]
    assert selected(connection, found, {"k": {"$in": [text, "none"]}}) == [True, False, False, False, False]
    if not text.startswith("$") and "." not in text:
        assert selected(connection, found, {text: 1}) == [False, False, False, True, False]
        assert selected(connection, found, {text: {"$exists": False}}) == [True, True, True, False, False]


@given(text=st.text(without_zeros), other=st.text(without_zeros))
@some
def test_any_text_matches_itself_alone(connection, text, other):
    assert selected(connection, [{"k": text}], {"k": text}) == [True]
    assert selected(connection, [{"k": text}], {"k": other}) == [text == other]


@given(name=st.text(without_zeros, min_size=1, max_size=256).filter(lambda name: name[0] != "$" and "." not in name))
@some
def test_any_name_names_itself_alone(connection, name):
    assert selected(connection, [{name: 1}, {name + "x": 1}, {}], {name: 1}) == [True, False, False]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"a": "x\0"}, "/filters/a"),
        ({"a": {"$in": ["x", "\0"]}}, "/filters/a/$in/1"),
        ({"a\0b": 1}, "/filters/a\0b"),
        ({"a": "\ud800"}, "/filters/a"),
        ({"\udfff": 1}, "/filters/\udfff"),
    ],
)
def test_what_no_database_keeps_is_refused(query, pointer):
    with pytest.raises(InvalidInput) as refusal:
        compile_filter(query)
    assert refusal.value.pointer == pointer


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**70), 10**40, 1e308, 5e-324, -0.0])
def test_numbers_of_any_size_are_compared_exactly(connection, number):
    found = [{"n": number}, {"n": number + 1 if isinstance(number, int) else 7}]
    assert selected(connection, found, {"n": number}) == [True, False]


# ---------------------------------------------------------------- what is refused, and where


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ([], ""),
        ("a", ""),
        (None, ""),
        ({"$foo": 1}, "/$foo"),
        ({"$where": "1"}, "/$where"),
        ({"$gt": 1}, "/$gt"),
        ({"$and": {}}, "/$and"),
        ({"$and": [{}, 1]}, "/$and/1"),
        ({"$or": "x"}, "/$or"),
        ({"$or": [{"a": 1}, {"$and": [{"b": {"$foo": 1}}]}]}, "/$or/1/$and/0/b/$foo"),
        ({"$not": []}, "/$not"),
        ({"": 1}, "/"),
        ({"a.": 1}, "/a."),
        ({".a": 1}, "/.a"),
        ({"a..b": 1}, "/a..b"),
        ({"x" * 257: 1}, "/" + "x" * 257),
        ({"a": {}}, "/a"),
        ({"a": []}, "/a"),
        ({"a": {"b": 1}}, "/a/b"),
        ({"a": {"$foo": 1}}, "/a/$foo"),
        ({"a": {"$regex": "x"}}, "/a/$regex"),
        ({"a": {"$eq": [1]}}, "/a/$eq"),
        ({"a": {"$ne": {"b": 1}}}, "/a/$ne"),
        ({"a": {"$in": "x"}}, "/a/$in"),
        ({"a": {"$in": [1, [2]]}}, "/a/$in/1"),
        ({"a": {"$nin": {}}}, "/a/$nin"),
        ({"a": {"$exists": 1}}, "/a/$exists"),
        ({"a": {"$exists": None}}, "/a/$exists"),
        ({"a": {"$gt": None}}, "/a/$gt"),
        ({"a": {"$gte": True}}, "/a/$gte"),
        ({"a": {"$lt": [1]}}, "/a/$lt"),
        ({"a": {"$lte": float("nan")}}, "/a/$lte"),
        ({"a": float("inf")}, "/a"),
        ({"a": {"$in": [float("-inf")]}}, "/a/$in/0"),
        ({"a": {"$not": 1}}, "/a/$not"),
        ({"a": {"$not": {"$foo": 1}}}, "/a/$not/$foo"),
        ({"a~b/c": {"$foo": 1}}, "/a~0b~1c/$foo"),
    ],
)
def test_a_malformed_filter_is_pointed_at(query, pointer):
    with pytest.raises(InvalidInput) as refusal:
        compile_filter(query)
    assert refusal.value.pointer == "/filters" + pointer
    assert refusal.value.message


def nested(levels: int, word: str) -> dict[str, Any]:
    query: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        query = {"$not": query} if word == "$not" else {word: [query]}
    return query


@pytest.mark.parametrize("word", ["$and", "$or", "$not"])
def test_nesting_is_bounded(connection, word):
    assert selected(connection, [{"a": 1}], nested(8, word)) == [True]
    with pytest.raises(InvalidInput, match="nests"):
        compile_filter(nested(9, word))


def test_nesting_inside_a_field_is_bounded():
    query: dict[str, Any] = {"$gt": 1}
    for _ in range(20):
        query = {"$not": query}
    with pytest.raises(InvalidInput):
        compile_filter({"a": query})


def test_conditions_are_bounded_over_the_whole_filter(connection):
    assert selected(connection, [{}], {f"f{n}": {"$ne": 1} for n in range(100)}) == [True]
    with pytest.raises(InvalidInput, match="200"):
        compile_filter({f"f{n}": 1 for n in range(201)})
    with pytest.raises(InvalidInput, match="200"):
        compile_filter({"$or": [{"a": 1, "b": 2} for _ in range(101)]})
    with pytest.raises(InvalidInput, match="200"):
        compile_filter({"$or": [{} for _ in range(201)]})


def test_values_are_bounded(connection):
    assert selected(connection, [{"a": 499}, {"a": 500}], {"a": {"$in": list(range(500))}}) == [True, False]
    with pytest.raises(InvalidInput, match="500"):
        compile_filter({"a": {"$in": list(range(501))}})


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_what_is_negated_is_written_once(levels):
    """Twice at each level makes 256 times of a filter that nests as deep as it may."""
    inner = {f"f{n}": {"$in": list(range(100))} for n in range(5)}
    query: dict[str, Any] = inner
    for _ in range(levels):
        query = {"$not": query}
    plain, negated = len(compile_filter(inner)), len(compile_filter(query))
    assert negated < plain + 100 * levels
