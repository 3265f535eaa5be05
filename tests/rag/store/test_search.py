"""The legs, and what stands behind the ids they name. The scores of the lexical leg stand in test_bm25.py."""

from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from rag.store.collections import create_collection
from rag.store.corpus import read_corpus, refresh_statistics
from rag.store.search import (
    SearchScope,
    dense_leg,
    hydrate,
    lexical_leg,
    lexical_plan,
    matching_words,
    rescore,
    sentences_of,
)

TEXTS = {
    "brakes": "The brake lever stops the wheel. It is on the left.\n\nThe brake cable is replaced every year.",
    "wheels": "A wheel has twenty spokes.",
}


@asynccontextmanager
async def looking(owner, *groups: str, **narrower: Any):
    """A connection and what a reader with these groups may search."""
    principal = msgspec.structs.replace(owner.principal, groups=groups)
    async with owner.connect(snapshot=True) as connection:
        corpus = await read_corpus(connection, principal)
        scope = SearchScope.of(owner.tenant, corpus, None, None)
        yield connection, msgspec.structs.replace(scope, **narrower)


async def both_legs(connection, scope, *, text="brake", vector=None, limit=50) -> tuple[set, set]:
    vector = np.full(384, 384**-0.5, np.float32) if vector is None else vector
    dense = await dense_leg(connection, scope, vector, limit=limit)
    plan = await lexical_plan(connection, scope.tenant, text, ["english"])
    lexical = await lexical_leg(connection, scope, plan, limit=limit)
    return {chunk for chunk, _ in dense}, {chunk for chunk, _ in lexical}


async def read(connection, scope, chunks) -> set[str]:
    return {passage.external_id for passage in (await hydrate(connection, scope, list(chunks))).values()}


async def test_the_dense_leg_orders_by_cosine_exactly(acme):
    await acme.serve("many", "\n\n".join(f"paragraph number {n}" for n in range(40)))
    (query,) = acme.embed(["something else"])
    async with looking(acme) as (connection, scope):
        found = await dense_leg(connection, scope, query, limit=100)
        passages = await hydrate(connection, scope, [chunk for chunk, _ in found])
        first = await dense_leg(connection, scope, query, limit=7)
    texts = [passages[chunk].text for chunk, _ in found]
    cosines = dict(zip(texts, (acme.embed(texts) @ query).tolist(), strict=True))
    assert len(found) == 40
    assert [score for _, score in found] == pytest.approx([cosines[text] for text in texts], abs=2e-3)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert first == found[:7]


async def test_a_paragraph_is_nearest_to_its_own_vector(acme):
    await acme.serve_all(TEXTS)
    paragraph = "The brake cable is replaced every year."
    (vector,) = acme.embed([paragraph])
    async with looking(acme) as (connection, scope):
        ((chunk, score),) = await dense_leg(connection, scope, vector, limit=1)
        passage = (await hydrate(connection, scope, [chunk]))[chunk]
    assert passage.text == paragraph
    assert score == pytest.approx(1, abs=1e-3)
    assert (passage.span_start, passage.document_version) == (TEXTS["brakes"].index(paragraph), 1)


async def test_equal_scores_are_in_the_order_of_their_ids(acme):
    await acme.serve_all({f"doc-{n}": "the same brake" for n in range(8)})
    (vector,) = acme.embed(["the same brake"])
    async with looking(acme) as (connection, scope):
        dense = [chunk for chunk, _ in await dense_leg(connection, scope, vector, limit=8)]
        plan = await lexical_plan(connection, scope.tenant, "brake", ["english"])
        lexical = [chunk for chunk, _ in await lexical_leg(connection, scope, plan, limit=8)]
    assert dense == lexical == sorted(dense)


async def test_both_legs_see_the_same_scope(acme):
    async with acme.connect() as connection:
        await create_collection(connection, acme.tenant, "shop")
    await acme.serve("kb", "brake one")
    await acme.serve("shop", "brake two", collection="shop", metadata={"price": 5})
    await acme.serve("staff", "brake three", groups=["staff"], metadata={"price": 5})
    async with acme.connect() as connection:
        await refresh_statistics(connection, acme.tenant)
        corpus = await read_corpus(connection, acme.principal)
    numbers = {c.name: c.collection_id for c in corpus.collections}

    async def seen(*groups: str, **narrower: Any) -> set[str]:
        async with looking(acme, *groups, **narrower) as (connection, scope):
            dense, lexical = await both_legs(connection, scope)
            assert dense == lexical
            return await read(connection, scope, dense)

    cheap = '($."price" == 5)'
    assert await seen() == {"kb", "shop"}
    assert await seen("staff") == {"kb", "shop", "staff"}
    assert await seen(collections=[numbers["shop"]]) == {"shop"}
    assert await seen(collections=[]) == set()
    assert await seen(filter=cheap) == {"shop"}
    assert await seen("staff", filter=cheap) == {"shop", "staff"}
    assert await seen("staff", filter=cheap, collections=[numbers["kb"]]) == {"staff"}
    assert await seen(filter='($."price" > 5)') == set()
    assert await seen(acl=[]) == set()


async def test_rescoring_gives_every_score_of_every_candidate(acme):
    await acme.serve_all(TEXTS)
    (vector,) = acme.embed(["It is on the left."])
    async with looking(acme) as (connection, scope):
        plan = await lexical_plan(connection, scope.tenant, "brake lever", ["english"])
        lexical = dict(await lexical_leg(connection, scope, plan, limit=50))
        dense = dict(await dense_leg(connection, scope, vector, limit=50))
        scored = {row.chunk_id: row for row in await rescore(connection, scope, list(dense), vector, plan.weights)}
        texts = {chunk: p.text for chunk, p in (await hydrate(connection, scope, list(dense))).items()}
        without = await rescore(connection, scope, list(dense), vector, None)
    assert scored.keys() == dense.keys()
    for chunk, row in scored.items():
        assert row.cosine == pytest.approx(dense[chunk], abs=1e-5)
        assert row.bm25 == pytest.approx(lexical.get(chunk, 0), abs=1e-5)
    best = max(scored.values(), key=lambda row: row.best_sentence)
    assert texts[best.chunk_id].startswith("The brake lever")
    assert best.best_sentence == pytest.approx(1, abs=1e-3)
    assert {row.bm25 for row in without} == {0}


async def test_no_id_opens_what_is_another_tenants_or_anothers(acme, bolt):
    """Whatever a leg named, hydration, rescoring and sentences run under row-level security and groups."""
    await acme.serve_all(TEXTS)
    await acme.serve("staff", "The staff brake.", groups=["staff"])
    await bolt.serve_all(TEXTS)
    everything = list(range(1, 100))
    (vector,) = acme.embed(["brake"])
    async with looking(bolt) as (connection, scope):
        theirs = list((await both_legs(connection, scope))[0])
        assert len(await hydrate(connection, scope, theirs)) == 3
    async with looking(acme, "staff") as (connection, scope):
        ours = list((await both_legs(connection, scope))[0])
        assert len(ours) == 4
        wide = msgspec.structs.replace(scope, acl=everything)
        found = await hydrate(connection, wide, [*ours, *theirs])
        assert found.keys() == set(ours)
        assert {row.chunk_id for row in await rescore(connection, wide, [*ours, *theirs], vector, None)} == set(ours)
        assert {row.chunk_id for row in await sentences_of(connection, wide, [*ours, *theirs], vector)} == set(ours)
        for claimed in (wide, msgspec.structs.replace(wide, tenant=bolt.tenant)):
            assert await hydrate(connection, claimed, theirs) == {}
            assert await rescore(connection, claimed, theirs, vector, None) == []
            assert await sentences_of(connection, claimed, theirs, vector) == []
    async with looking(acme) as (connection, scope):
        assert await read(connection, scope, ours) == {"brakes", "wheels"}


async def test_sentences_are_slices_of_the_version_in_reading_order(acme):
    await acme.serve("brakes", TEXTS["brakes"])
    (vector,) = acme.embed(["It is on the left."])
    async with looking(acme) as (connection, scope):
        chunks = list((await both_legs(connection, scope))[0])
        sentences = await sentences_of(connection, scope, chunks, vector)
    said = {TEXTS["brakes"][s.span_start : s.span_end]: s.similarity for s in sentences}
    assert said.keys() == {
        "The brake lever stops the wheel.",
        "It is on the left.",
        "The brake cable is replaced every year.",
    }
    assert said["It is on the left."] == pytest.approx(1, abs=1e-3)
    for chunk in chunks:
        own = [s for s in sentences if s.chunk_id == chunk]
        assert [s.ordinal for s in own] == list(range(len(own)))


async def test_words_match_by_their_stems_in_any_of_the_languages(acme):
    async with acme.connect() as connection:
        plan = await lexical_plan(connection, acme.tenant, "braking wheels", ["english"])
        words = ["Brakes", "wheel", "lever", "Wheels", "brake"]
        found = await matching_words(connection, words, plan.terms, ["english"])
        assert found == {"Brakes", "wheel", "Wheels", "brake"}
        assert await matching_words(connection, words, plan.terms, ["simple"]) == {"wheel", "brake"} & {
            word for word in words if word in plan.lexemes
        }
        assert await matching_words(connection, [], plan.terms, ["english"]) == set()


async def test_accents_are_folded_in_the_text_and_in_the_query(acme):
    await acme.serve_all({"doc": "Das naïve Café in Zürich"})
    async with looking(acme) as (connection, scope):
        for query in ("cafe", "Café", "zurich", "ZÜRICH", "naive"):
            plan = await lexical_plan(connection, scope.tenant, query, ["english"])
            assert len(await lexical_leg(connection, scope, plan, limit=9)) == 1, query


async def test_a_chunk_without_sentences_is_scored_by_itself(acme):
    await acme.serve_all(TEXTS)
    async with acme.connect() as connection:
        await connection.execute("DELETE FROM chunk_sentences_minilm_l6_v2")
    (vector,) = acme.embed(["brake"])
    async with looking(acme) as (connection, scope):
        chunks = list((await both_legs(connection, scope))[0])
        for row in await rescore(connection, scope, chunks, vector, None):
            assert row.best_sentence == row.cosine
