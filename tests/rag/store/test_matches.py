"""All that matches, in the scope and the order it is asked for. What a search makes of it: tests/rag/retrieval."""

import msgspec

from rag.domain import Sort
from rag.store.corpus import read_corpus
from rag.store.matches import FacetField, count_facets, documents_of, path_of, sorted_matches
from rag.store.search import LexicalPlan, SearchScope, lexical_leg, lexical_plan


async def scope_of(owner, connection, *groups: str) -> tuple[SearchScope, LexicalPlan]:
    principal = msgspec.structs.replace(owner.principal, groups=groups)
    scope = SearchScope.of(owner.tenant, await read_corpus(connection, principal), None, None)
    plan = await lexical_plan(connection, owner.tenant, "brake lever", ["english"])
    assert plan is not None
    return scope, plan


async def test_what_is_sorted_has_the_score_of_the_lexical_leg(acme):
    await acme.serve_all({f"doc-{n}": f"brake {'lever ' * n}" for n in range(6)}, metadata={"n": 1})
    async with acme.connect() as connection:
        scope, plan = await scope_of(acme, connection)
        leg = await lexical_leg(connection, scope, plan, limit=50)
        found = await sorted_matches(connection, scope, plan, Sort("n"), by_document=False, limit=50)
        few = await sorted_matches(connection, scope, plan, Sort("n"), by_document=False, limit=2)
    assert found == leg
    assert few == leg[:2]


async def test_matches_and_counts_are_the_tenants_and_the_groups_own(acme, bolt):
    await acme.serve("open", "brake", metadata={"brand": "a"})
    await acme.serve("closed", "brake", metadata={"brand": "b"}, groups=["staff"])
    await bolt.serve("theirs", "brake", metadata={"brand": "c"})
    fields = [FacetField("brand", path_of("brand"), None, kept=False)]
    for groups, values in (((), {"a"}), (("staff",), {"a", "b"})):
        async with acme.connect() as connection:
            scope, plan = await scope_of(acme, connection, *groups)
            for claimed in (scope, msgspec.structs.replace(scope, acl=list(range(1, 100)), tenant=bolt.tenant)):
                facets = await count_facets(connection, claimed, fields, plan)
                found = await sorted_matches(connection, claimed, plan, Sort("brand"), by_document=True, limit=9)
                expected = values if claimed is scope else set()
                assert {count.value for count in facets.counts["brand"]} == expected
                assert len(found) == len(expected)


async def test_documents_are_those_of_the_tenants_chunks(acme, bolt):
    await acme.serve("doc", "brake one\n\nbrake two")
    await bolt.serve("doc", "brake")
    async with bolt.connect() as connection:
        scope, plan = await scope_of(bolt, connection)
        theirs = [chunk for chunk, _ in await lexical_leg(connection, scope, plan, limit=9)]
    async with acme.connect() as connection:
        scope, plan = await scope_of(acme, connection)
        ours = [chunk for chunk, _ in await lexical_leg(connection, scope, plan, limit=9)]
        owners = await documents_of(connection, scope, [*ours, *theirs])
    assert list(owners) == ours
    assert len(set(owners.values())) == 1


def test_a_dot_steps_into_an_object():
    assert path_of("size.width") == ["size", "width"]
