from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.api.paths import restored, routable
from rag.errors import InvalidInput


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
def test_a_segment_comes_through_routing_as_one_and_unchanged(segment):
    path = routable(f"/a/{quote(segment, safe='')}/b".encode())
    first, second, third, fourth = path.split("/")
    assert (first, second, fourth) == ("", "a", "b")
    assert restored(third) == segment


def test_the_query_is_no_part_of_the_path():
    assert routable(b"/a/b?c=/d") == "/a/b"


@pytest.mark.parametrize("path", [b"/a/%00", b"/a/%ff", b"/%c3", b"/\xff"])
def test_what_is_not_text_is_refused(path):
    with pytest.raises(InvalidInput):
        routable(path)


async def test_an_external_id_may_hold_a_slash_and_a_percent_sign(client, house):
    path = "/v1/collections/kb/documents/guides%2F100%25%20%C3%BCber%3F.md"
    assert (await client.call("PUT", path, key=house.key, json={"text": "Something."})).status_code == 202
    found = (await client.call("GET", path, key=house.key)).json()
    assert found["external_id"] == "guides/100% über?.md"
    assert (await client.call("GET", f"{path}/versions", key=house.key)).json()["data"] == []
    await client.problem("GET", "/v1/collections/kb/documents/guides/100", 404, "not_found", key=house.key)


async def test_a_nul_in_a_path_is_refused_at_the_door(client, house):
    for path in ("/v1/collections/%00", "/v1/collections/kb/documents/a%00", "/nowhere%00"):
        await client.problem("GET", path, 422, "invalid_input", key=house.key)
