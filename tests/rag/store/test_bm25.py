"""BM25 in SQL against BM25 in Python, and what one tenant's words do to another's scores: nothing."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pgvector.psycopg import register_vector
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from rag.store.corpus import read_corpus, refresh_statistics
from rag.store.database import _OPTIONS, TenantConnection
from rag.store.documents import delete_document
from rag.store.search import LexicalPlan, SearchScope, lexical_leg, lexical_plan
from rag.store.statements import statement

K1, B = 1.2, 0.75
ALONE = {"beginning": None, "alternatives": Jsonb([])}  # the query's words and nothing beside them
WORDS = (
    "brake lever wheel cable saddle helmet battery charger display motor spoke chain pedal tyre frame warranty "
    "delivery return invoice garage winter salt theft insurance lamp bell mirror lock key firmware"
).split()


def write(rng: random.Random, *, chunks: int) -> str:
    """Paragraphs of a few to many words, the first words of the list being the commonest."""
    weights = [1 / rank for rank in range(1, len(WORDS) + 1)]
    lengths = [rng.randint(2, 40) for _ in range(chunks)]
    return "\n\n".join(" ".join(rng.choices(WORDS, weights, k=length)) for length in lengths)


def reference(chunks: list[dict[str, Any]], lexemes: list[str]) -> dict[Any, float]:
    """BM25 over k1 + 1 (Robertson & Zaragoza, 2009) of the chunks that hold any of the lexemes."""
    n = len(chunks)
    frequency = {lexeme: sum(lexeme in chunk["tf"] for chunk in chunks) for lexeme in lexemes}
    idf = {lexeme: math.log(1 + (n - df + 0.5) / (df + 0.5)) for lexeme, df in frequency.items()}
    scores = {}
    for chunk in chunks:
        length = sum(chunk["tf"].values()) / chunk["average"]
        found = [lexeme for lexeme in lexemes if lexeme in chunk["tf"]]
        if found:
            scores[chunk["id"]] = sum(
                idf[x] * chunk["tf"][x] / (chunk["tf"][x] + K1 * (1 - B + B * length)) for x in found
            )
    return scores


async def indexed(connection: TenantConnection) -> list[dict[str, Any]]:
    """The tenant's chunks as PostgreSQL split them: how often each lexeme stands in each, twice in a heading."""
    rows = await (
        await connection.execute(
            "SELECT chunk_id, average_length, (SELECT jsonb_object_agg(t.lexeme, cardinality(t.positions) "
            "+ cardinality(array_positions(t.weights, 'A'))) FROM unnest(tsv) t) AS tf FROM chunk_lexemes"
        )
    ).fetchall()
    return [{"id": r["chunk_id"], "average": r["average_length"], "tf": Counter(r["tf"])} for r in rows]


async def search(owner, query: str, *, limit: int = 1000) -> tuple[LexicalPlan | None, list]:
    async with owner.connect() as connection:
        corpus = await read_corpus(connection, owner.principal)
        plan = await lexical_plan(connection, owner.tenant, query, ["english"])
        scope = SearchScope.of(owner.tenant, corpus, None, None)
        return plan, await lexical_leg(connection, scope, plan, limit=limit) if plan else []


@pytest.mark.parametrize("seed", range(4))
async def test_scores_are_those_of_the_reference(seed, acme):
    rng = random.Random(seed)  # noqa: S311 - the same corpus at every run
    await acme.serve_all({f"doc-{n}": write(rng, chunks=rng.randint(1, 25)) for n in range(3)})
    async with acme.connect() as connection:
        chunks = await indexed(connection)
    for _ in range(20):
        query = " ".join(rng.choices([*WORDS, "unheard"], k=rng.randint(1, 5)))
        plan, hits = await search(acme, query)
        expected = reference(chunks, plan.lexemes)
        assert {chunk: pytest.approx(score, abs=1e-4) for chunk, score in expected.items()} == dict(hits)
        assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)
        assert all(0 < score < plan.maximum for _, score in hits)


async def test_a_word_of_a_heading_counts_twice_in_frequency_and_in_length(acme):
    await acme.serve("titled", "Pull the brake on wet roads.", title="Brake lever")
    await acme.serve("plain", "Brake lever. Pull the brake on wet roads.")
    async with acme.connect() as connection:
        await refresh_statistics(connection, acme.tenant)
        chunks = await indexed(connection)
    titled, plain = sorted((chunk["tf"] for chunk in chunks), key=lambda tf: -tf["brake"])
    assert (titled["brake"], titled["lever"], titled["road"]) == (3, 2, 1)
    assert (plain["brake"], plain["lever"], plain["road"]) == (2, 1, 1)
    assert titled.total() == plain.total() + 2
    plan, hits = await search(acme, "lever brake")
    assert {chunk: pytest.approx(score, abs=1e-4) for chunk, score in reference(chunks, plan.lexemes).items()} == dict(
        hits
    )
    assert hits[0][1] > hits[1][1]


async def test_lengths_are_normalised_by_the_tenants_average(acme):
    await acme.serve_all({"short": "brake lever", "long": "brake " + "wheel " * 40, "middle": "brake " + "cable " * 18})
    async with acme.connect() as connection:
        chunks = await indexed(connection)
    mean = sum(sum(chunk["tf"].values()) for chunk in chunks) / len(chunks)
    assert [chunk["average"] for chunk in chunks] == [pytest.approx(mean, rel=0.1)] * 3
    _, hits = await search(acme, "brake")
    lengths = {chunk["id"]: sum(chunk["tf"].values()) for chunk in chunks}
    assert [lengths[chunk] for chunk, _ in hits] == sorted(lengths.values())


# ---------------------------------------------------------------- per tenant


async def test_another_tenants_thousand_chunks_change_no_score(acme, bolt):
    """The side channel of an IDF over all tenants: its owner could read in A's scores how often B wrote a word."""
    await acme.serve_all({"doc": "brake lever\n\nwheel cable\n\nbrake wheel saddle"})
    plan, before = await search(acme, "brake saddle")

    await bolt.serve_all({"flood": "\n\n".join(f"brake saddle number{n}" for n in range(1000))})
    async with acme.connect() as connection:
        await refresh_statistics(connection, acme.tenant)

    after_plan, after = await search(acme, "brake saddle")
    assert after == before
    assert (after_plan.maximum, after_plan.weights) == (plan.maximum, plan.weights)
    assert (await search(bolt, "brake"))[0].maximum < 0.01, "in the other corpus the word says nothing"


# ---------------------------------------------------------------- statistics


async def frequencies(owner) -> dict[str, int]:
    async with owner.connect() as connection:
        rows = await (await connection.execute("SELECT lexeme, document_frequency FROM lexeme_stats")).fetchall()
    return {row["lexeme"]: row["document_frequency"] for row in rows}


async def refresh(owner) -> bool:
    async with owner.connect() as connection:
        return await refresh_statistics(connection, owner.tenant)


async def test_statistics_count_chunks_and_forget_what_is_gone(acme):
    await acme.serve("one", "brake brake lever\n\nbrake wheel")
    await acme.serve("two", "cable")
    assert await refresh(acme)
    assert await frequencies(acme) == {"brake": 2, "lever": 1, "wheel": 1, "cabl": 1}

    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "one")
    assert await refresh(acme)
    assert await frequencies(acme) == {"cabl": 1}

    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "two")
    assert await refresh(acme)
    assert await frequencies(acme) == {}


async def test_a_refresh_with_nothing_to_do_does_nothing(acme):
    await acme.serve("one", "brake lever")
    assert [await refresh(acme) for _ in range(3)] == [True, False, False]
    await acme.serve("one", "brake wheel")
    assert [await refresh(acme) for _ in range(2)] == [True, False]


async def test_one_refresh_of_a_tenant_at_a_time(acme, bolt):
    await acme.serve("one", "brake lever")
    await bolt.serve("one", "brake lever")
    async with acme.connect() as connection:
        assert await refresh_statistics(connection, acme.tenant)
        second = asyncio.create_task(refresh(acme))
        assert await refresh(bolt)
        done, _ = await asyncio.wait({second}, timeout=0.3)
        assert not done  # it waits until the first has ended
    assert not await second  # and then has nothing left to do


async def test_weights_are_rewritten_when_the_average_moves(acme):
    await acme.serve_all({"short": "brake lever"})
    await acme.serve("long", "\n\n".join("wheel " * 60 for _ in range(3)))
    async with acme.connect() as connection:
        assert {round(chunk["average"]) for chunk in await indexed(connection)} == {2}
    assert await refresh(acme)
    async with acme.connect() as connection:
        cursor = await connection.execute(
            "SELECT u.average_length, l.average_length AS own, "
            "(l.bm25 <-> bm25_vector(l.tsv, u.average_length)) AS distance FROM chunk_lexemes l CROSS JOIN corpora u"
        )
        rows = await cursor.fetchall()
    assert len(rows) == 4
    for row in rows:
        assert row["own"] == row["average_length"] == pytest.approx((2 + 3 * 60) / 4)
        assert row["distance"] == pytest.approx(0)


async def test_a_word_that_the_statistics_lack_counts_as_rare(acme):
    await acme.serve_all({"old": "brake lever\n\nbrake wheel"})
    await acme.serve("new", "zeppelin brake")
    plan, hits = await search(acme, "zeppelin")
    assert plan.known == 0
    assert plan.maximum == pytest.approx(math.log(1 + (3 + 0.5) / 0.5))
    assert len(hits) == 1


async def test_statistics_from_before_a_purge_give_scores_all_the_same(acme):
    await acme.serve_all({f"doc-{n}": "brake lever" for n in range(5)})
    async with acme.connect() as connection:
        for n in range(1, 5):
            await delete_document(connection, acme.tenant, "kb", f"doc-{n}")
    plan, hits = await search(acme, "brake")
    assert plan.maximum > 0
    assert len(hits) == 1
    assert hits[0][1] > 0


# ---------------------------------------------------------------- the plan of a query


async def test_a_query_of_stop_words_asks_for_nothing(acme):
    await acme.serve_all({"doc": "brake lever"})
    for query in ("the of and", "", "  ", "?!"):
        assert await search(acme, query) == (None, [])


async def test_candidates_are_found_by_the_rarest_words_first(acme):
    """Until as many rows are expected as are wanted; the score counts every word all the same."""
    await acme.serve_all({"doc": "brake rare\n\nbrake lever\n\nbrake lever wheel"})
    async with acme.connect() as connection:
        values = {"tenant": acme.tenant, "query": "brake lever rare", "languages": ["english"], **ALONE}
        terms = []
        for breadth in (1, 2, 4, 500):
            row = await connection.execute(statement("search.lexical_plan"), {**values, "breadth": breadth})
            terms.append((await row.fetchone())["terms"])
    assert terms == ["'rare'", "'rare' | 'lever'", "'rare' | 'lever' | 'brake'", "'rare' | 'lever' | 'brake'"]


async def test_lexemes_are_listed_weightiest_first(acme):
    await acme.serve_all({"doc": "brake rare\n\nbrake lever\n\nbrake lever wheel"})
    plan, _ = await search(acme, "brake lever rare")
    assert plan.lexemes == ["rare", "lever", "brake"]
    assert plan.known == 3


HOSTILE = "ab1'\"\\:!&|()*<>-/.@?=%_ éß世\u0000İ"


@pytest.fixture
def app(settings, acme) -> Iterator[psycopg.Connection]:
    with psycopg.connect(settings.secret("database_url"), row_factory=dict_row, options=_OPTIONS) as connection:
        register_vector(connection)
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(acme.tenant)])
        yield connection
        connection.rollback()


@given(query=st.text(HOSTILE.replace("\u0000", ""), max_size=60))
@example(query="it's a 'quoted' \\ back\\slash o'clock rock'n'roll")
@example(query="http://x.example/a'b\\c?d='&e=1 /usr/lo'cal/b\\in.txt me@o'brien.example")
@example(query="a:* & !b | (c <-> d) :A ''' \\' ")
@example(query="\u0130stanbul 世界 nai\u0308ve ǅ")
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_word_breaks_the_query_that_it_stands_in(app, acme, query):
    values = {"tenant": acme.tenant, "query": query, "languages": ["simple", "english"], "breadth": 500, **ALONE}
    row = app.execute(statement("search.lexical_plan"), values).fetchone()
    lexemes = app.execute(
        "SELECT DISTINCT t.lexeme FROM unnest(%s::text[]) l, unnest(to_tsvector(('cloister.' || l)::regconfig, %s)) t",
        [values["languages"], query],
    ).fetchall()
    expected = {entry["lexeme"] for entry in lexemes}
    assert set(row["lexemes"] or []) == expected
    if not expected:
        assert row["terms"] is None
        return
    matched = app.execute(
        "SELECT lexeme FROM unnest(%s::text[]) lexeme WHERE array_to_tsvector(ARRAY[lexeme]) @@ %s::tsquery",
        [sorted(expected), row["terms"]],
    ).fetchall()
    assert {entry["lexeme"] for entry in matched} == expected


def test_a_very_long_word_is_passed_over(app, acme):
    values = {"tenant": acme.tenant, "query": "x" * 5000 + " brake", "languages": ["english"], "breadth": 500, **ALONE}
    assert app.execute(statement("search.lexical_plan"), values).fetchone()["terms"] == "'brake'"
