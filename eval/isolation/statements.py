"""The statements of the house, each called by itself with ids that are another tenant's or another group's.

Behind every door stand several layers, of which one is enough to keep a leak from showing. So each is asked alone: a
hydration that lost its condition is found here, though the legs of the search before it still hold.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from eval.isolation.estate import ALPHA, BETA, Estate
from eval.isolation.judge import Judge
from rag.domain import ChunkId, Sort, TenantId
from rag.errors import NotFound
from rag.retrieval.retriever import normalise
from rag.retrieval.typos import correctable
from rag.store.answers import get_answer
from rag.store.corpus import Corpus, read_corpus
from rag.store.database import TenantConnection
from rag.store.documents import get_document, list_versions
from rag.store.ingestion import some_jobs
from rag.store.matches import sorted_matches
from rag.store.search import SearchScope, dense_leg, hydrate, lexical_leg, lexical_plan, rescore, sentences_of
from rag.store.vocabulary import count_words, near_words
from rag.tenancy import ALL_GROUPS, Principal

LAYERS: Final = "statements"


class Reach:
    """A connection of whoever reaches out, and what it is sent to fetch: alpha's target, under a scope."""

    def __init__(self, connection: TenantConnection, estate: Estate, scope: SearchScope) -> None:
        self.connection = connection
        self.estate = estate
        self.scope = scope
        self.document = estate.target.document
        self.chunks = [ChunkId(self.id("chunk_id"))]

    def id(self, name: str) -> UUID:
        """An id of the target's."""
        return UUID(self.estate.target.ids[name])

    async def vector(self) -> Any:
        """The vector of a question that the target answers."""
        return await self.estate.services.encoder.embed_query(normalise(self.document.question))


Probe = Callable[[Reach], Awaitable[Any]]


async def _lexical(reach: Reach) -> Any:
    alpha = reach.estate.tenants[ALPHA].tenant_id
    async with reach.estate.services.database.tenant(alpha) as connection:
        plan = await lexical_plan(connection, alpha, reach.document.text, ["english"])
    return await lexical_leg(reach.connection, reach.scope, plan, limit=50) if plan else []


async def _dense(reach: Reach) -> Any:
    return await dense_leg(reach.connection, reach.scope, await reach.vector(), limit=50)


async def _rescore(reach: Reach) -> Any:
    return await rescore(reach.connection, reach.scope, reach.chunks, await reach.vector(), None)


async def _sentences(reach: Reach) -> Any:
    return await sentences_of(reach.connection, reach.scope, reach.chunks, await reach.vector())


async def _document(reach: Reach) -> Any:
    found = reach.document
    return await get_document(
        reach.connection, reach.scope.tenant, found.collection, found.external_id, acl=reach.scope.acl
    )


async def _versions(reach: Reach) -> Any:
    return await list_versions(reach.connection, reach.scope.tenant, reach.id("document_id"), before=99, limit=9)


async def _matches(reach: Reach) -> Any:
    alpha = reach.estate.tenants[ALPHA].tenant_id
    async with reach.estate.services.database.tenant(alpha) as connection:
        plan = await lexical_plan(connection, alpha, reach.document.text, ["english"])
    if plan is None:
        return []
    return await sorted_matches(reach.connection, reach.scope, plan, Sort("shelf"), by_document=False, limit=50)


async def _counts(reach: Reach) -> Any:
    """Only words that the scope has: one that it has not is counted 0, which says nothing."""
    words = correctable(reach.document.text)
    counts = await count_words(reach.connection, reach.scope, [w.word for w in words], ["english"], beside="")
    return [count for count in counts if count.chunks]


async def _near(reach: Reach) -> Any:
    longest = max((typed.word for typed in correctable(reach.document.text)), key=len)
    words = await near_words(reach.connection, reach.scope.tenant, [f"{longest}x"], [1], begins=False)
    return [word.word for word in words]


# What a statement of the house gives for alpha's ids: by name, and whether access groups decide over it too.
STATEMENTS: Final[Mapping[str, tuple[Probe, bool]]] = {
    "lexical_candidates": (_lexical, True),
    "sorted_matches": (_matches, True),
    "count_words": (_counts, True),
    "near_words": (_near, False),  # of the tenant as a whole: what is shown of them passes through count_words
    "dense_leg": (_dense, True),
    "rescore": (_rescore, True),
    "hydrate": (lambda reach: hydrate(reach.connection, reach.scope, reach.chunks), True),
    "sentences_of": (_sentences, False),
    "get_document": (_document, True),
    "list_versions": (_versions, False),
    "get_answer": (
        lambda reach: get_answer(reach.connection, reach.scope.tenant, reach.id("answer_id"), acl=reach.scope.acl),
        True,
    ),
    "some_jobs": (lambda reach: some_jobs(reach.connection, reach.scope.tenant, [reach.id("job_id")]), False),
}


async def try_statements(judge: Judge) -> None:
    """Call each from the other tenant, under its own name and under alpha's, and from alpha without the group."""
    estate = judge.estate
    alpha, beta = (estate.tenants[name].tenant_id for name in (ALPHA, BETA))
    everything, blue = await _corpus(estate, ALL_GROUPS), await _corpus(estate, "blue")
    for name, (probe, by_groups) in STATEMENTS.items():
        for connected, named in ((beta, beta), (beta, alpha)):
            found = await _fetch(estate, probe, connected, SearchScope.of(named, everything, None, None))
            _weigh(
                judge, name, "beta owner", "for alpha's ids" if named == beta else "for alpha's ids in its name", found
            )
        if by_groups:
            found = await _fetch(estate, probe, alpha, SearchScope.of(alpha, blue, None, None))
            _weigh(judge, name, "alpha blue", "for red's ids", found)
        if not await _fetch(estate, probe, alpha, SearchScope.of(alpha, everything, None, None)):
            judge.ledger.found(LAYERS, name, "alpha owner", f"{name} finds nothing for the owner: nothing was proved")


def _weigh(judge: Judge, name: str, caller: str, what: str, found: Any) -> None:
    told, outcome = repr(found).encode(), "something" if found else "nothing"
    judge.weigh(LAYERS, name, judge.estate.callers[caller], f"{name} {what}", said=b"", told=told, outcome=outcome)


async def _fetch(estate: Estate, probe: Probe, connected: TenantId, scope: SearchScope) -> Any:
    async with estate.services.database.tenant(connected, snapshot=True) as connection:
        try:
            return await probe(Reach(connection, estate, scope))
        except NotFound:
            return None


async def _corpus(estate: Estate, group: str) -> Corpus:
    """Alpha's corpus as a reader of a group is shown it."""
    alpha = estate.tenants[ALPHA]
    reader = Principal(
        tenant=alpha.tenant_id,
        slug=alpha.slug,
        key_id=UUID(int=0),
        kind="secret",
        scopes=frozenset(),
        groups=(group,),
    )
    async with estate.services.database.tenant(alpha.tenant_id) as connection:
        return await read_corpus(connection, reader)
