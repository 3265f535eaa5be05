import re
import sys


async def test_the_page_and_all_that_it_names_come_from_here(client):
    page = await client.call("GET", "/schema")
    assert page.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(named) == 4
    for path in named:
        assert path.startswith("/schema/")
        response = await client.call("GET", path)
        assert response.status_code == 200, path
        assert len(response.content) > 100
        assert response.headers["content-type"].split(";")[0] in {"text/css", "text/javascript", "image/png"}
        assert "max-age" in response.headers["cache-control"]


async def test_the_page_can_load_nothing_from_elsewhere(client):
    page = await client.call("GET", "/schema")
    policy = page.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "default-src 'none'" in policy[0]
    assert "script-src 'self';" in policy[0]
    assert "http" not in policy[0]
    start = (await client.call("GET", "/schema/start.js")).text
    style = (await client.call("GET", "/schema/ui/swagger-ui.css")).text
    assert not re.search(r"https?:|//", page.text + start)
    assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style)
    assert "<script>" not in page.text


async def test_only_those_files_are_served(client):
    for name in ("swagger-ui.js", "LICENSE", "..%2Fflask_swagger_ui.py", "..%2F..%2F..%2Fetc%2Fpasswd", "none"):
        await client.problem("GET", f"/schema/ui/{name}", 404, "not_found")


async def test_flask_is_not_imported_for_it(client):
    assert (await client.call("GET", "/schema/ui/swagger-ui-bundle.js")).status_code == 200
    assert not {"flask", "flask_swagger_ui"} & set(sys.modules)
