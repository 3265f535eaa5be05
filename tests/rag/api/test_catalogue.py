from inspect import getmembers, isclass
from pathlib import Path

from rag import errors
from rag.api.catalogue import catalogue

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def test_every_error_of_the_tree_is_in_the_catalogue_and_on_the_page():
    page = PAGE.read_text("utf-8")
    kinds = [kind for _, kind in getmembers(errors, isclass) if issubclass(kind, errors.CloisterError)]
    assert len(kinds) > 15
    for kind in kinds:
        assert catalogue()[kind.code].status == kind.status
        assert f"| `{kind.code}` | {kind.status} |" in page, kind.code


async def test_the_type_of_a_problem_leads_to_its_meaning(client):
    found = await client.problem("GET", "/v1/nowhere", 404, "not_found")
    meaning = (await client.call("GET", found["type"])).json()
    assert (meaning["code"], meaning["status"], meaning["transient"]) == ("not_found", 404, False)
    assert meaning["type"] == found["type"]
    assert meaning["description"]


async def test_a_code_that_is_not_one(client):
    await client.problem("GET", "/problems/nonsense", 404, "not_found")
