import msgspec
import pytest

from rag.api.pointers import depth, locate, outsized, unstorable


class Inner(msgspec.Struct):
    number: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: list[Inner] = []
    free: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"name": 1}, "/name"),
        ({"name": "a", "inner": [{"number": 1}, {"number": "x"}]}, "/inner/1/number"),
        ({"name": "a", "inner": [{}]}, "/inner/0/number"),
        ({"name": "a", "free": {"own": "x"}}, "/free"),
        ({}, "/name"),
        ({"name": "a", "surprise": 1}, "/surprise"),
        ({"name": "a", "a/b~c": 1}, "/a~1b~0c"),
        ([], ""),
    ],
)
def test_an_error_is_located_at_its_field(value, pointer):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer)
    found, message = locate(str(caught.value))
    assert found == pointer
    assert "$" not in message


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ("fine \N{GRINNING FACE}", None),
        ({"a": ["x", {"b/c": "no\x00"}]}, "/a/1/b~1c"),
        ({"a": "\ud800"}, "/a"),
        ({"a": {"\x00": "x"}}, "/a"),
        ("\x00", ""),
        ([1, None, True, 2.5], None),
    ],
)
def test_a_string_that_cannot_be_kept_is_found(value, pointer):
    assert unstorable(value) == pointer


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": 2**63 - 1, "b": -(2**63) + 1}, None),
        ({"a": [1, 2**63]}, "/a/1"),
        ({"a": -(2**64)}, "/a"),
        ({"a": 1e20}, "/a"),
        ({"a": True, "b": "9" * 40}, None),
    ],
)
def test_a_number_that_needs_more_than_64_bits_is_found(value, pointer):
    assert outsized(value) == pointer


def test_depth_counts_objects_and_lists():
    assert depth(1) == 0
    assert depth({}) == 1
    assert depth({"a": [{"b": 1}], "c": {}}) == 3


def test_nesting_beyond_the_recursion_limit_is_walked():
    value: object = "\x00"
    for _ in range(5000):
        value = [value]
    assert depth(value) == 5000
    assert unstorable(value) == "/0" * 5000
