"""A tenant's vectors move between the shared partition and one of its own while others read and write them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from rag.errors import NotFound
from rag.store.corpus import read_corpus
from rag.store.database import Database
from rag.store.documents import delete_document
from rag.store.partitions import (
    Placement,
    attach_partition,
    build_partition,
    catch_up,
    dissolve_partition,
    misplaced,
    partition_totals,
    read_placement,
)
from rag.store.search import SearchScope, dense_leg, nearest_leg
from rag.store.tenants import delete_tenant

SPACE = "minilm_l6_v2"
QUERY = np.full(384, 384**-0.5, np.float32)
EVERYTHING = 100_000
HELD = {  # what each step would have done when its transaction is cut off before it commits
    "build": ("build_partition", []),
    "catch_up": ("catch_up_partition", ["build"]),
    "attach": ("attach_partition", ["build"]),
    "dissolve": ("dissolve_partition", ["build", "attach"]),
}
STEPS = {"build": build_partition, "catch_up": catch_up, "attach": attach_partition, "dissolve": dissolve_partition}


def paragraphs(number: int, word: str = "brake") -> str:
    return "\n\n".join(f"{word} number {n}" for n in range(number))


async def step(owner, name: str):
    async with owner.connect() as connection:
        return await STEPS[name](connection, owner.tenant, SPACE)


async def place_of(owner) -> Placement:
    async with owner.connect() as connection:
        return await read_placement(connection, owner.tenant, SPACE)


async def found_and_there(owner) -> tuple[list, list]:
    """What an exact search names, and the chunks that there are, in one snapshot."""
    async with owner.connect(snapshot=True) as connection:
        corpus = await read_corpus(connection, owner.principal)
        scope = SearchScope.of(owner.tenant, corpus, None, None)
        await asyncio.sleep(random.random() / 200)  # noqa: S311 - a swap may come here, after the snapshot
        found = [chunk for chunk, _ in await dense_leg(connection, scope, QUERY, limit=EVERYTHING)]
        rows = await (await connection.execute("SELECT chunk_id FROM chunks ORDER BY chunk_id")).fetchall()
    return sorted(found), [row["chunk_id"] for row in rows]


async def tables(owner_url: str) -> list[str]:
    async with await psycopg.AsyncConnection.connect(owner_url) as connection:
        cursor = await connection.execute(
            "SELECT relname FROM pg_class WHERE relname ~ '^partition_\\d+$' AND relkind = 'r' ORDER BY 1"
        )
        return [row[0] for row in await cursor.fetchall()]


async def test_a_promoted_tenant_is_read_from_its_own_partition_and_a_demoted_one_is_not(acme, bolt, owner_url):
    await acme.serve("doc", paragraphs(40))
    await bolt.serve("doc", paragraphs(10))
    assert await place_of(acme) == Placement(40, built=False, attached=False)
    assert await step(acme, "build") == "built"
    assert await place_of(acme) == Placement(40, built=True, attached=False)
    assert await step(acme, "attach") == "attached"
    assert await place_of(acme) == Placement(40, built=True, attached=True)
    async with await psycopg.AsyncConnection.connect(owner_url, row_factory=dict_row) as owner:
        cursor = await owner.execute(
            sql.SQL("SELECT tableoid::regclass::text AS place, count(*) AS n FROM cloister.{} GROUP BY 1").format(
                sql.Identifier(f"embeddings_{SPACE}")
            )
        )
        places = {row["place"]: row["n"] for row in await cursor.fetchall()}
    assert sorted(places.values()) == [10, 40]
    for tenant in (acme, bolt):
        found, there = await found_and_there(tenant)
        assert found == there
    assert await step(acme, "dissolve") == "dissolved"
    assert await place_of(acme) == Placement(40, built=False, attached=False)
    assert await tables(owner_url) == []
    found, there = await found_and_there(acme)
    assert (found, len(found)) == (there, 40)


async def test_steps_taken_twice_change_nothing(acme, owner_url):
    await acme.serve("doc", paragraphs(5))
    assert await step(acme, "attach") == "absent"
    assert [await step(acme, name) for name in ("build", "build", "attach", "attach", "build")] == [
        "built",
        "built",
        "attached",
        "attached",
        "built",
    ]
    assert await step(acme, "catch_up") == 0
    assert len(await tables(owner_url)) == 1
    assert [await step(acme, "dissolve"), await step(acme, "dissolve")] == ["dissolved", "absent"]


async def test_what_was_written_while_it_was_built_is_brought_over(acme):
    await acme.serve("stays", paragraphs(20, "stays"))
    await acme.serve("changes", paragraphs(20, "old"))
    await acme.serve("goes", paragraphs(20, "goes"))
    await step(acme, "build")
    await acme.serve("changes", paragraphs(7, "new"))
    await acme.serve("comes", paragraphs(9, "comes"))
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "goes")
        await connection.execute(
            "UPDATE embeddings_minilm_l6_v2 SET acl_id = acl_id + 7 WHERE chunk_id IN (SELECT "
            "chunk_id FROM chunks WHERE text LIKE 'stays number 1%')"
        )
    assert await step(acme, "catch_up") == 20 + 7 + 20 + 9 + 2 * 11
    await acme.serve("later", paragraphs(3, "later"))
    assert await step(acme, "attach") == "attached"
    found, there = await found_and_there(acme)
    assert len(there) == 20 + 7 + 9 + 3
    assert len(found) == 7 + 9 + 3 + 9, "the others are closed by groups now"
    async with acme.connect() as connection:
        rows = await (await connection.execute("SELECT chunk_id FROM embeddings_minilm_l6_v2")).fetchall()
    assert sorted(row["chunk_id"] for row in rows) == there


async def test_a_swap_far_behind_is_put_off(acme):
    await acme.serve("doc", paragraphs(5))
    await step(acme, "build")
    await acme.serve("much", paragraphs(600, "much"))
    assert await step(acme, "attach") == "behind"
    assert await place_of(acme) == Placement(605, built=True, attached=False)
    assert await step(acme, "catch_up") == 600
    assert await step(acme, "attach") == "attached"
    found, there = await found_and_there(acme)
    assert found == there


@pytest.mark.parametrize("name", ["attach", "dissolve"])
@pytest.mark.parametrize("holding", ["a search", "a write"])
async def test_a_swap_gives_up_where_it_would_have_to_wait(name, holding, acme):
    await acme.serve("doc", paragraphs(5))
    for before in ["build", *(["attach"] if name == "dissolve" else [])]:
        await step(acme, before)
    was = await place_of(acme)
    async with acme.connect(snapshot=holding == "a search") as connection:
        if holding == "a write":
            await connection.execute("UPDATE chunks SET ordinal = ordinal")
        assert await step(acme, name) == "busy"
    assert await place_of(acme) == was
    assert await step(acme, name) == ("attached" if name == "attach" else "dissolved")


@pytest.mark.parametrize("name", list(HELD))
async def test_a_step_that_is_cut_off_leaves_nothing_behind_and_can_be_taken_again(name, acme, settings, owner_url):
    await acme.serve("doc", paragraphs(30))
    function, before = HELD[name]
    for earlier in before:
        await step(acme, earlier)
    await acme.serve("more", paragraphs(4, "more"))
    was, had = await place_of(acme), await tables(owner_url)
    killed = await psycopg.AsyncConnection.connect(settings.secret("database_url"))
    await killed.execute("SELECT set_config('app.tenant_id', %s, true)", [str(acme.tenant)])
    await killed.execute(f"SELECT cloister.{function}(%s, %s)", [acme.tenant, SPACE])
    async with await psycopg.AsyncConnection.connect(owner_url.replace("cloister_owner", "postgres")) as admin:
        await admin.execute("SELECT pg_terminate_backend(%s, 5000)", [killed.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        await killed.commit()
    await killed.close()
    assert (await place_of(acme), await tables(owner_url)) == (was, had)
    found, there = await found_and_there(acme)
    assert (found, len(found)) == (there, 34)
    for rest in ["build", "attach", "dissolve"][len(before) :]:
        await step(acme, rest)
    found, there = await found_and_there(acme)
    assert (found, len(found)) == (there, 34)


async def test_who_stands_in_the_wrong_place_is_found(acme, bolt, database):
    await acme.serve("doc", paragraphs(12))
    await bolt.serve("doc", paragraphs(3))

    async def wrong(partition_chunks: int) -> set:
        async with database.control() as control:
            return {tenant for tenant, space in await misplaced(control, partition_chunks=partition_chunks)}

    assert await wrong(12) == set()
    assert await wrong(11) == {acme.tenant}
    await step(acme, "build")
    assert await wrong(11) == {acme.tenant}, "nobody reads it yet"
    await step(acme, "attach")
    async with database.control() as control:
        assert await partition_totals(control) == {"attached": 1, "built": 0}
    assert await wrong(11) == set()
    assert await wrong(48) == set(), "between a quarter and the whole it stays where it is"
    assert await wrong(52) == {acme.tenant}
    async with database.control() as control:
        await delete_tenant(control, acme.tenant)
    assert await wrong(1_000_000) == {acme.tenant}
    assert await step(acme, "dissolve") == "dissolved"
    assert await wrong(1_000_000) == set()


class Traffic:
    """Readers and writers of one tenant, and what they saw that should not be."""

    def __init__(self, owner) -> None:
        self.owner = owner
        self.wrong: list[str] = []
        self.reads = self.approximate = self.writes = 0
        self.numbers = count()

    async def read(self) -> None:
        found, there = await found_and_there(self.owner)
        self.reads += 1
        if found != there:
            self.wrong.append(f"named {len(found)} ({len(set(found))} different) of {len(there)}")

    async def approximate_read(self) -> None:
        async with self.owner.connect(snapshot=True) as connection:
            corpus = await read_corpus(connection, self.owner.principal)
            scope = SearchScope.of(self.owner.tenant, corpus, None, None)
            near = await nearest_leg(connection, scope, QUERY, fetch=50, effort=400, limit=50)
            found = [chunk.chunk_id for chunk in near]
            exact = [c for c, _ in await dense_leg(connection, scope, QUERY, limit=50)]
        self.approximate += corpus.partitioned
        if len(set(found)) < 50 or len(set(found) & set(exact)) < 45:
            self.wrong.append(f"the index named {len(set(found) & set(exact))} of 50")

    async def write(self) -> None:
        number = next(self.numbers)
        name = f"w{number % 7}"
        if number % 5:
            await self.owner.serve(name, paragraphs(1 + number % 4, f"write {number}"))
        else:
            async with self.owner.connect() as connection:
                with suppress(NotFound):
                    await delete_document(connection, self.owner.tenant, "kb", name)
        self.writes += 1

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        stop = asyncio.Event()

        async def go_on(act) -> None:
            while not stop.is_set():
                await act()

        acts = [self.read, self.read, self.approximate_read, self.write]
        async with asyncio.TaskGroup() as tasks:
            for act in acts:
                tasks.create_task(go_on(act))
            try:
                yield
            finally:
                stop.set()


async def settled(owner, name: str) -> None:
    """A step that is put off while others hold what it needs is taken until it is done."""
    for _ in range(60):
        if name == "attach":
            await step(owner, "catch_up")
        if await step(owner, name) in {"built", "attached", "dissolved"}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(name)


async def test_under_load_nothing_is_lost_or_doubled_and_nobody_gets_an_error(acme, settings):
    await acme.serve("stable", paragraphs(300, "stable"))
    wide = await Database.open(settings.secret("database_url"), size=6)
    try:
        traffic = Traffic(acme.__class__(wide, acme.delivery, acme.principal, acme.embed))
        async with traffic.flowing():
            for _ in range(6):
                await settled(acme, "build")
                await asyncio.sleep(0.1)
                await settled(acme, "attach")
                await asyncio.sleep(0.1)
                await settled(acme, "dissolve")
    finally:
        await wide.close()
    assert traffic.wrong == []
    assert min(traffic.reads, traffic.writes, traffic.approximate) > 5
    found, there = await found_and_there(acme)
    assert found == there
    assert len(there) >= 300
