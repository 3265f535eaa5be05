from collections.abc import Sequence

import msgspec
import pytest

from eval.corpus import corpus_in_service, slug_of
from eval.datasets import Dataset, Document, make_dataset
from rag.domain import Query, Tenant
from rag.errors import CloisterError
from rag.services import Services
from rag.store.tenants import list_tenants


async def tenants(services: Services) -> Sequence[Tenant]:
    async with services.database.control() as control:
        return [tenant for tenant in await list_tenants(control) if tenant.slug.startswith("eval-")]


async def test_a_corpus_is_in_service_for_as_long_as_asked(services: Services, dataset: Dataset) -> None:
    async with corpus_in_service(services, dataset) as loaded:
        assert (loaded.documents, loaded.chunks, loaded.dead) == (6, 6, [])
        (tenant,) = await tenants(services)
        assert tenant.slug == slug_of(services, dataset, "english")
        found = await services.searcher.search(loaded.principal, Query(text="oil the chain"))
        assert (found.hits[0].external_id, found.hits[0].metadata) == ("chain", {"article": "chain"})
    assert not await tenants(services)


async def test_the_statistics_are_fresh(services: Services, dataset: Dataset) -> None:
    async with corpus_in_service(services, dataset) as loaded:
        found = await services.searcher.search(loaded.principal, Query(text="oil chain moon", explain=True))
    assert found.explain
    assert found.explain["lexical"]["lexemes_known"] == 2


async def test_a_kept_corpus_is_used_again_and_left(services: Services, dataset: Dataset) -> None:
    async with corpus_in_service(services, dataset, keep=True) as loaded:
        first = loaded.principal.tenant
    async with corpus_in_service(services, dataset) as loaded:
        assert loaded.principal.tenant == first
    assert [tenant.tenant_id for tenant in await tenants(services)] == [first]


async def test_fresh_loads_it_anew(services: Services, dataset: Dataset) -> None:
    async with corpus_in_service(services, dataset, keep=True) as loaded:
        first = loaded.principal.tenant
    async with corpus_in_service(services, dataset, fresh=True, keep=True) as loaded:
        assert loaded.principal.tenant != first
        assert loaded.documents == 6
    assert len(await tenants(services)) == 1


async def test_an_incomplete_corpus_is_completed(services: Services, dataset: Dataset) -> None:
    class Interrupted(Exception):
        pass

    with pytest.raises(Interrupted):
        async with corpus_in_service(services, dataset):
            raise Interrupted
    (left,) = await tenants(services)
    more = msgspec.structs.replace(dataset, documents=[*dataset.documents, Document(id="bell", text="Ring it.")])
    assert slug_of(services, more, "english") == left.slug  # the digest is still that of the first six
    async with corpus_in_service(services, more) as loaded:
        assert (loaded.principal.tenant, loaded.documents) == (left.tenant_id, 7)
    assert not await tenants(services)


async def test_a_title_alone_can_be_found(services: Services) -> None:
    dataset = make_dataset("titles", [Document(id="t", text=" ", title="Spare spokes")], [], {})
    async with corpus_in_service(services, dataset) as loaded:
        found = await services.searcher.search(loaded.principal, Query(text="spokes"))
    assert [hit.external_id for hit in found.hits] == ["t"]


async def test_what_cannot_be_ingested_is_named(services: Services) -> None:
    documents = [Document(id="good", text="Words."), Document(id="bad", text="\u200b")]
    async with corpus_in_service(services, make_dataset("mixed", documents, [], {})) as loaded:
        assert (loaded.documents, loaded.dead) == (1, ["bad"])


async def test_the_slug_tells_corpora_and_languages_apart(services: Services, dataset: Dataset) -> None:
    other = make_dataset("bikes", dataset.documents[1:], dataset.topics, dataset.qrels)
    slugs = {slug_of(services, dataset, "english"), slug_of(services, dataset, "german")}
    assert len({*slugs, slug_of(services, other, "english")}) == 3


async def test_a_language_that_is_unknown_is_refused(services: Services, dataset: Dataset) -> None:
    with pytest.raises(CloisterError, match="one of"):
        async with corpus_in_service(services, dataset, language="klingon"):
            pytest.fail("it was loaded")
