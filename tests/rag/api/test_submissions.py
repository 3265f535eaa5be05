from uuid import UUID

import pytest

from rag.store.ingestion import claim

PATH = "/v1/collections/kb/documents/a"


@pytest.fixture
def put(client, house):
    """Puts a document in and gives back what was queued for it."""

    async def queued(status=202, **more):
        response = await client.call("PUT", PATH, key=house.key, **more)
        assert response.status_code == status, response.text
        async with house.services.database.tenant(house.tenant) as connection:
            return await claim(connection, house.tenant, UUID(response.json()["job_id"]))

    return queued


@pytest.mark.parametrize(
    ("field", "media_type"), [("text", "text/plain"), ("markdown", "text/markdown"), ("html", "text/html")]
)
async def test_a_document_as_json(put, field, media_type):
    metadata = {"a": [1, {"b": None}]}
    fields = {"title": "T", "uri": "https://example.test", "metadata": metadata, "groups": ["x", "y", "x"]}
    run = await put(json={field: "naïve \N{GRINNING FACE}", **fields})
    assert run.body == "naïve \N{GRINNING FACE}".encode()
    by = run.request.pop("by")
    assert by["type"] == "key"
    assert run.request == {**fields, "groups": ["x", "y"], "media_type": media_type, "filename": None}


async def test_a_document_as_a_file(put):
    run = await put(
        files={"file": ("guide.pdf", b"%PDF\x00\xff", "application/pdf; v=1")},
        data={"title": "T", "uri": "u", "metadata": '{"a": 1}', "groups": '["x"]'},
    )
    assert run.body == b"%PDF\x00\xff"
    assert run.request.pop("by")
    assert run.request == {
        "media_type": "application/pdf", "filename": "guide.pdf", "title": "T", "uri": "u", "metadata": {"a": 1},
        "groups": ["x"],
    }  # fmt: skip


async def test_a_file_that_does_not_say_what_it_is_is_left_to_be_sniffed(put):
    run = await put(files={"file": ("blob", b"# hello", "application/octet-stream")})
    assert (run.request["media_type"], run.request["filename"], run.request["metadata"]) == (None, "blob", {})


async def test_a_field_that_is_wrong_is_pointed_at(client, house):
    deep: object = 1
    for _ in range(9):
        deep = {"a": deep}
    wrong = [
        ({}, ""),
        ({"text": "x", "html": "y"}, ""),
        ({"text": ""}, "/text"),
        ({"text": "a\x00"}, "/text"),
        ({"text": "x", "title": "x" * 1001}, "/title"),
        ({"text": "x", "uri": 3}, "/uri"),
        ({"text": "x", "metadata": []}, "/metadata"),
        ({"text": "x", "metadata": deep}, "/metadata"),
        ({"text": "x", "metadata": {"a": "x" * 65_536}}, "/metadata"),
        ({"text": "x", "metadata": {"a": 2**64}}, "/metadata/a"),
        ({"text": "x", "metadata": {"a": {"b": ["\x00"]}}}, "/metadata/a/b/0"),
        ({"text": "x", "groups": "x"}, "/groups"),
        ({"text": "x", "groups": [""]}, "/groups/0"),
        ({"text": "x", "groups": ["x" * 129]}, "/groups/0"),
        ({"text": "x", "groups": ["x"] * 65}, "/groups"),
        ({"text": "x", "tenant": "y"}, "/tenant"),
    ]
    for body, pointer in wrong:
        found = await client.problem("PUT", PATH, 422, "invalid_input", key=house.key, json=body)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], body


async def test_a_form_field_that_is_wrong_is_pointed_at(client, house):
    file = {"file": ("a.md", b"# hello", "text/markdown")}
    wrong = [
        ({"data": {"file": "not a file"}, "files": {"title": (None, "x")}}, "/file"),
        ({"data": {"title": "x"}, "files": {"other": ("a.md", b"x")}}, "/file"),
        ({"data": {"metadata": "{"}, "files": file}, "/metadata"),
        ({"data": {"metadata": "[]"}, "files": file}, "/metadata"),
        ({"data": {"metadata": "[" * 100_000}, "files": file}, "/metadata"),
        ({"data": {"metadata": '{"a": "\\u0000"}'}, "files": file}, "/metadata/a"),
        ({"data": {"groups": "x"}, "files": file}, "/groups"),
        ({"data": {"groups": '[""]'}, "files": file}, "/groups/0"),
        ({"data": {"title": "a\x00b"}, "files": file}, "/title"),
        ({"data": {"title": ["a", "b"]}, "files": file}, ""),
        ({"data": {"surprise": "x"}, "files": file}, "/surprise"),
    ]
    for form, pointer in wrong:
        found = await client.problem("PUT", PATH, 422, "invalid_input", key=house.key, **form)
        assert [fault["pointer"] for fault in found["errors"]] == [pointer], form


@pytest.mark.parametrize(
    "content",
    [
        b"--x\r\nConten",
        b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nhel\xfflo\r\n--x--\r\n',
        (
            b'--x\r\nContent-Disposition: form-data; name="title"\r\nContent-Type: text/plain; charset=no\r\n\r\na'
            b"\r\n--x--\r\n"
        ),
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 50 + b"--x--\r\n",
    ],
)
async def test_a_form_that_is_broken(client, house, content):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    await client.problem("PUT", PATH, 400, "malformed_body", key=house.key, content=content, headers=headers)


async def test_a_form_without_a_boundary(client, house):
    headers = {"Content-Type": "multipart/form-data"}
    found = await client.problem("PUT", PATH, 400, "malformed_body", key=house.key, content=b"x", headers=headers)
    assert "boundary" in found["detail"]


async def test_other_media_types_are_refused(client, house):
    for media_type in ("text/markdown", "application/pdf", "application/x-www-form-urlencoded"):
        await client.problem(
            "PUT",
            PATH,
            415,
            "unsupported_media_type",
            key=house.key,
            content=b"x",
            headers={"Content-Type": media_type},
        )


async def test_content_over_the_bound_is_refused_in_either_form(client, house, settings):
    over = settings.max_document_bytes + 1
    await client.problem("PUT", PATH, 413, "too_large", key=house.key, json={"text": "x" * over})
    file = {"file": ("a.txt", b"x" * over, "text/plain")}
    await client.problem("PUT", PATH, 413, "too_large", key=house.key, files=file)
    file = {"file": ("a.txt", b"x" * (2 * over + 1_000_000), "text/plain")}
    await client.problem("PUT", PATH, 413, "too_large", key=house.key, files=file)
    response = await client.call("PUT", PATH, key=house.key, json={"text": "x" * settings.max_document_bytes})
    assert response.status_code == 202


async def test_an_external_id_has_a_bound(client, house):
    base = "/v1/collections/kb/documents/"
    assert (await client.call("PUT", base + "x" * 512, key=house.key, json={"text": "x"})).status_code == 202
    found = await client.problem("PUT", base + "x" * 513, 422, "invalid_input", key=house.key, json={"text": "x"})
    assert found["errors"][0]["pointer"] == "/external_id"
