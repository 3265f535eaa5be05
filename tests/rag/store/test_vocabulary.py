"""The words of a corpus: what is learned, forgotten, found by its misspellings, and counted in a scope."""

import random
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from rag.retrieval.typos import beginning_distance, distance, edits_allowed
from rag.store.collections import create_collection
from rag.store.corpus import read_corpus, refresh_statistics
from rag.store.documents import delete_document
from rag.store.search import SearchScope
from rag.store.vocabulary import COMMON, count_words, near_words

LETTERS = "abcdefgh"


async def words_of(owner) -> dict[str, int]:
    async with owner.connect() as connection:
        rows = await (await connection.execute("SELECT word, document_frequency FROM vocabulary")).fetchall()
    return {row["word"]: row["document_frequency"] for row in rows}


async def counts(owner, words: list[str], *groups: str, **more):
    principal = msgspec.structs.replace(owner.principal, groups=groups)
    async with owner.connect() as connection:
        corpus = await read_corpus(connection, principal)
        scope = SearchScope.of(owner.tenant, corpus, more.pop("collections", None), None)
        return {c.word: c for c in await count_words(connection, scope, words, ["english"], **more)}


async def near(owner, typed: str, *, begins: bool = False) -> set[str]:
    async with owner.connect() as connection:
        found = await near_words(connection, owner.tenant, [typed], [edits_allowed(typed)], begins=begins)
    return {word.word for word in found}


# ---------------------------------------------------------------- what is in it


async def test_words_are_learned_as_they_are_written_but_for_stop_words(acme):
    await acme.serve("doc", "The Café sells batteries, and 2 TN-2110.", title="Zürich’s lamps")
    assert set(await words_of(acme)) == {"cafe", "sells", "batteries", "tn", "-2110", "zurich", "lamps"}


async def test_what_is_gone_is_forgotten_with_the_next_statistics_and_the_rest_counted(acme):
    await acme.serve("one", "lamps and a lamp\n\nlamps")
    await acme.serve("two", "brakes")
    async with acme.connect() as connection:
        await refresh_statistics(connection, acme.tenant)
    assert await words_of(acme) == {"lamps": 2, "lamp": 2, "brakes": 1}
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "two")
        await refresh_statistics(connection, acme.tenant)
    assert await words_of(acme) == {"lamps": 2, "lamp": 2}


async def test_each_tenant_has_its_own(acme, bolt):
    await acme.serve("doc", "quokka")
    await bolt.serve("doc", "axolotl")
    assert set(await words_of(acme)) == {"quokka"}
    assert await near(acme, "axolotll") == set()


# ---------------------------------------------------------------- misspellings


@pytest.fixture
def app(settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        settings.secret("database_url"), row_factory=dict_row, options="-c search_path=cloister,public"
    ) as connection:
        yield connection


def mistyped(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    letter = rng.choice(LETTERS)
    return rng.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :],
        ]
    )


@given(word=st.text(LETTERS, min_size=4, max_size=12), seed=st.integers(0, 10**6), beginning=st.booleans())
@hypothesis_settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_word_within_its_mistakes_shares_a_key_with_what_was_typed(app, word, seed, beginning):
    """The law of symmetric deletion, for whole words and for beginnings."""
    rng = random.Random(seed)  # noqa: S311
    typed = word[: rng.randint(4, len(word))] if beginning else word
    for _ in range(edits_allowed(typed)):
        typed = mistyped(typed, rng)
    edits = edits_allowed(typed)
    apart = beginning_distance(typed, word)[0] if beginning else distance(typed, word)
    row = app.execute("SELECT spelling_keys(%s) && typed_keys(%s, %s) AS met", [word, typed, edits]).fetchone()
    assert row["met"] or not edits or apart > edits


async def test_words_are_found_by_their_misspellings(acme):
    await acme.serve("doc", "zebrafork mouse keyboard headphones tn2110 phone")
    found = {typed: await near(acme, typed) for typed in ("zebrafrok", "mose", "headpohnse", "hpone", "tn2111")}
    assert found == {
        "zebrafrok": {"zebrafork"},
        "mose": {"mouse"},
        "headpohnse": {"headphones"},
        "hpone": {"phone"},
        "tn2111": set(),
    }
    assert await near(acme, "zebrfo", begins=True) == {"zebrafork"}
    assert await near(acme, "keyboadr") == {"keyboard"}


# ---------------------------------------------------------------- counted in a scope


async def test_words_are_counted_where_the_caller_may_look(acme):
    async with acme.connect() as connection:
        shop = await create_collection(connection, acme.tenant, "shop")
    await acme.serve("open", "lamps\n\na lamp of brass", metadata={"a": 1})
    await acme.serve("closed", "a heron, a lamp", groups=["staff"])
    await acme.serve("offer", "a cheap lamp", collection=shop.name)

    async def lamps(*groups: str, **more) -> tuple[int | None, int | None]:
        found = await counts(acme, ["lamp", "heron"], *groups, **more)
        return found["lamp"].chunks, found["heron"].chunks

    async with acme.connect() as connection:
        corpus = await read_corpus(connection, acme.principal)
    numbers = {c.name: c.collection_id for c in corpus.collections}
    assert await lamps() == (3, 0)
    assert await lamps("staff") == (4, 1)
    assert await lamps("staff", collections=[numbers["shop"]]) == (1, 0)
    assert await lamps(collections=[]) == (0, 0)
    assert await lamps("staff", confinement='($."a" == 1)') == (2, 0)


async def test_stop_words_are_not_counted_and_common_words_no_further_than_need_be(acme):
    await acme.serve("doc", "\n\n".join(f"lamp {n}" for n in range(COMMON + 5)))
    found = await counts(acme, ["the", "lamps"])
    assert (found["the"].chunks, found["lamps"].chunks) == (None, COMMON)


async def test_a_beginning_is_counted_by_the_words_that_it_may_become(acme):
    await acme.serve("doc", "running shoes\n\nruns\n\nzebrafork")
    assert (await counts(acme, ["runnin"], begins=True))["runnin"].chunks == 2
    assert (await counts(acme, ["runnin"]))["runnin"].chunks == 0
    assert (await counts(acme, ["zebr"], begins=True))["zebr"].chunks == 1


async def test_a_word_is_written_only_where_it_is_spelled_so(acme):
    """The open document has its stem: that the closed one spells another word of that stem is nobody's to know."""
    await acme.serve("open", "universal joints")
    await acme.serve("closed", "the university", groups=["staff"])
    own = await counts(acme, ["university", "universal"], beside="joints")
    assert {word: count.written for word, count in own.items()} == {"university": False, "universal": True}
    assert (own["universal"].beside, (await counts(acme, ["universal"], beside=""))["universal"].beside) == (1, 0)
    assert (await counts(acme, ["university"], "staff", beside=""))["university"].written


async def test_statistics_are_believed_only_when_nothing_is_closed(acme):
    await acme.serve("closed", "\n\n".join(f"heron {n}" for n in range(COMMON)), groups=["staff"])
    async with acme.connect() as connection:
        await refresh_statistics(connection, acme.tenant)
        corpus = await read_corpus(connection, acme.principal)
    assert corpus.restricted
    assert (await counts(acme, ["heron"]))["heron"].chunks == 0
    assert (await counts(acme, ["heron"], "staff", trusting=True))["heron"].chunks == COMMON
