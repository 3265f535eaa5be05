"""A word planted wherever a caller can put one is nowhere after an erasure: not in a dump, not in the cache."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from psycopg import sql
from redis.asyncio import Redis

from ingest.worker import work
from rag.domain import Query, Scope
from rag.embedded.programs import POSTGRES, find
from rag.erasure import Eraser
from rag.errors import NotFound, TenantErased
from rag.services import Services
from rag.store import erasure as store
from rag.store.collections import create_collection, delete_collection
from rag.store.documents import delete_document
from rag.store.ingestion import cancel_job, claim, get_job
from rag.store.keys import create_key
from rag.store.tenants import tenant_by_slug
from rag.store.vacuum import vacuum_all
from tests.conftest import House, drain, in_database, make_house

TOKEN = "zyxomek"  # stands in all that is content; its own stem in English
NAME = "wuzzeline"  # stands in what is configuration: slug, key, collection, groups, person; the audit trail keeps it
PG_DUMP = find(POSTGRES, POSTGRES.installed()).with_name("pg_dump")
PERSON = f"{NAME}@example.org"


@pytest.fixture
def admin_url(settings, servers) -> str:
    return in_database(servers.admin_url, urlsplit(settings.secret("database_url")).path[1:])


@pytest.fixture
async def valkey(servers) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


class Found:
    """Where the token is: in which tables of which schema, in a dump, in which keys and values of the cache."""

    def __init__(self, admin_url: str, valkey: Redis) -> None:
        self._url = admin_url
        self._valkey = valkey

    def tables(self, word: str = TOKEN) -> set[str]:
        with psycopg.connect(self._url) as admin:
            names = admin.execute(
                "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE c.relkind = 'r' AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
                "OR c.relname = 'pg_statistic')"
            ).fetchall()
            return {".".join(name) for name in names if _holds(self._copy(admin, name), word)}

    def _copy(self, admin: psycopg.Connection, name: tuple[str, str]) -> bytes:
        statement = sql.SQL("COPY (SELECT t::text FROM {} t) TO STDOUT").format(sql.Identifier(*name))
        with admin.cursor().copy(statement) as copy:
            return b"".join(bytes(block) for block in copy)

    def in_dump(self, word: str = TOKEN) -> bool:
        done = subprocess.run([PG_DUMP, "--dbname", self._url], capture_output=True, check=True)
        assert b"CREATE TABLE cloister.documents" in done.stdout
        return _holds(done.stdout, word)

    async def keys(self, word: str = TOKEN) -> set[bytes]:
        found = set()
        async for key in self._valkey.scan_iter():
            kind = await self._valkey.type(key)
            value = await self._valkey.dump(key) if kind != b"string" else await self._valkey.get(key)
            if _holds(key + value, word):
                found.add(key)
        return found

    async def nowhere(self, owner_url: str) -> bool:
        vacuum_all(owner_url)
        assert self.tables(NAME) <= {"cloister.audit_events", "pg_catalog.pg_statistic"}
        assert not await self.keys(NAME)
        return not self.tables() and not self.in_dump() and not await self.keys()


def _holds(raw: bytes, word: str) -> bool:
    text = raw.lower()
    return any(form in text for form in (word.encode(), word.encode().hex().encode()))


@pytest.fixture
def found(admin_url, valkey) -> Found:
    return Found(admin_url, valkey)


TEXT = f"# The {TOKEN} manual\n\nThe {TOKEN} lever stops the wheel of the bike. Its {TOKEN} cable is blue."


async def plant(services: Services, slug: str) -> House:
    """A tenant that has used all there is, with the token in all that a caller can name."""
    house = await make_house(services, slug, groups=(NAME,))
    kb = f"{NAME}-kb"
    beside = {"uri": f"https://{TOKEN}.example", "metadata": {TOKEN: TOKEN}, "groups": [NAME]}
    async with services.database.tenant(house.tenant) as connection:
        await create_collection(connection, house.tenant, kb, refusal_threshold=0.0)
        await create_key(connection, house.tenant, name=NAME, scopes=[Scope.SEARCH], groups=[NAME])
    more = {"collection": kb, "title": f"{TOKEN} title", "filename": f"{TOKEN}.md", **beside}
    await house.ingest({f"{TOKEN}-doc": f"An older {TOKEN} text."}, **more)
    await house.ingest({f"{TOKEN}-doc": TEXT}, **more)
    await house.put(f"{TOKEN}-dead", f"{TOKEN};", **{**more, "filename": f"{TOKEN}.csv"})
    await drain(services)
    cancelled = await house.put(f"{TOKEN}-stopped", f"{TOKEN} stopped", collection=kb)
    async with services.database.tenant(house.tenant) as connection:
        await cancel_job(connection, house.tenant, cancelled.job_id)
    await house.put(f"{TOKEN}-doc", f"{TEXT} And it waits.", **more)
    await ask(house)
    return house


async def ask(house: House, *, user: str | None = PERSON) -> None:
    """Ask, as a person, what the document answers, and search for it; both are kept."""
    principal = msgspec.structs.replace(house.principal, user=user)
    question = f"What does the {TOKEN} lever stop?"
    answer = await house.services.answerer.answer(principal, question=question)
    assert answer.citations, (answer.refusal, answer.confidence)
    query = Query(text=f"{TOKEN} lever", highlight=True)
    assert (await house.services.searcher.search(principal, query)).hits
    assert (await house.services.searcher.search(principal, query)).cache == "hit"


async def rows_of(services: Services, house: House) -> str:
    """All that a tenant has, digested."""
    async with services.database.tenant(house.tenant, snapshot=True) as connection:
        stores = await store.stores_of(connection)
        rows = []
        for name in sorted({each.table for each in stores} - {"signing_secrets"}):  # which nobody reads
            text = sql.SQL("SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) AS digest FROM {} t")
            cursor = await connection.execute(text.format(sql.Identifier("cloister", name)))
            rows.append((name, (await cursor.fetchone())["digest"]))
    return repr(rows)


# ---------------------------------------------------------------- a tenant


async def test_after_the_erasure_of_a_tenant_the_word_is_nowhere(services, settings, found, other):
    house = await plant(services, f"{NAME}-ltd")
    await other.ingest({"d": "The wheel turns."})
    spared = await rows_of(services, other)
    planted = {name.removeprefix("cloister.") for name in found.tables() | found.tables(NAME)} - {"audit_events"}
    assert planted >= {
        "tenants", "api_keys", "collections", "acl_sets", "documents", "document_versions", "chunks", "chunk_lexemes",
        "lexeme_stats", "ingest_runs", "ingest_sources", "answers",
    }  # fmt: skip
    assert found.in_dump()
    assert await found.keys()

    erasure = await services.eraser.run(await services.eraser.begin_tenant(house.slug))

    assert await found.nowhere(settings.secret("migration_database_url"))
    assert erasure.state == "finished"
    assert {s.store for s in erasure.stores if s.remaining} == {"erasures", "audit_chains", "audit_events"}
    assert found.tables(NAME) - {"pg_catalog.pg_statistic"} == {"cloister.audit_events"}, "who did what stays"
    counts = {s.store: s.removed for s in erasure.stores}
    assert all(counts[name] > 0 for name in (*planted - {"pg_catalog.pg_statistic"}, "cache", "corpora"))
    assert counts["jobs.procrastinate_jobs"] > 0
    assert await rows_of(services, other) == spared
    assert (await services.searcher.search(other.principal, Query(text="wheel"))).hits


async def test_killed_between_any_two_steps_it_goes_on_and_the_others_go_on_too(services, settings, found, other):
    house = await plant(services, f"{NAME}-ltd")
    await Eraser(services.database, services.cache, approvals_required=False, batch=2).begin_tenant(house.slug)
    steps = 0
    while True:
        # Nothing is remembered in between but what the database knows.
        again = Eraser(services.database, services.cache, approvals_required=False, batch=2)
        try:
            erasure = await again.begin_tenant(house.slug)
        except NotFound:
            break
        await again.advance(erasure)
        steps += 1
        await other.put(f"d{steps}", "The wheel turns.")
        assert (await services.searcher.search(other.principal, Query(text="wheel"))).cache in {"hit", "miss"}
    assert steps > len(erasure.stores)
    assert await found.nowhere(settings.secret("migration_database_url"))
    receipt = await services.eraser.get(erasure.erasure_id)
    assert receipt.state == "finished"
    assert {s.store: s.removed for s in receipt.stores}["answers"] == 1


async def test_a_closed_tenant_is_served_nothing_and_takes_nothing(services, house):
    await house.ingest({"d": "The lever stops the wheel."})
    await services.eraser.begin_tenant(house.slug)
    for attempt in (
        services.searcher.search(house.principal, Query(text="lever")),
        services.answerer.answer(house.principal, question="What does the lever stop?"),
        house.put("new", "Too late."),
    ):
        with pytest.raises(TenantErased):
            await attempt


async def test_a_tenant_waits_to_be_closed_until_its_writes_have_ended(services, house):
    async with services.database.tenant(house.tenant) as connection:
        await create_collection(connection, house.tenant, "late")
        closing = asyncio.create_task(services.eraser.begin_tenant(house.slug))
        done, _ = await asyncio.wait([closing], timeout=0.3)
        assert not done
    assert (await closing).state == "running"


async def test_an_ingestion_under_way_writes_nothing_into_a_closed_tenant(services, house):
    receipt = await house.put("long", "\n\n".join(f"## Part {n}\n\nThe lever number {n} moves." for n in range(300)))
    worker = asyncio.create_task(work(services))
    await until_running(house, receipt)
    erasure = await services.eraser.run(await services.eraser.begin_tenant(house.slug))
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker
    await drain(services)
    assert {s.store for s in erasure.stores if s.remaining} == {"erasures", "audit_chains", "audit_events"}
    async with services.database.control() as control:
        with pytest.raises(NotFound):
            await tenant_by_slug(control, house.slug)


async def until_running(house: House, receipt) -> None:
    async with asyncio.timeout(60):
        while True:
            async with house.services.database.tenant(house.tenant) as connection:
                if (await get_job(connection, house.tenant, receipt.job_id)).status == "running":
                    return
            await asyncio.sleep(0.05)


async def test_an_unknown_tenant_cannot_be_erased(services):
    for attempt in (
        services.eraser.begin_tenant("none"),
        services.eraser.begin_document("none", "kb", "d"),
        services.eraser.begin_user("none", "u"),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_two_who_erase_the_same_tenant_share_the_work(services, house):
    await house.ingest({f"d{n}": f"The lever number {n}." for n in range(6)})
    begun = await services.eraser.begin_tenant(house.slug)
    erasers = [Eraser(services.database, services.cache, approvals_required=False, batch=2) for _ in range(2)]
    ended = await asyncio.gather(*(eraser.run(begun) for eraser in erasers))
    assert ended[0] == ended[1]
    assert {s.store: s.removed for s in ended[0].stores}["documents"] == 6


# ---------------------------------------------------------------- a document


async def test_after_the_erasure_of_a_document_its_words_are_nowhere(services, settings, found, house):
    await house.ingest({"kept": "The wheel turns on the hub."}, groups=["staff"])
    await house.ingest({f"{TOKEN}-doc": f"An older {TOKEN} text."}, title=TOKEN)
    beside = {"title": TOKEN, "uri": TOKEN, "metadata": {"brand": TOKEN}, "groups": [NAME], "filename": f"{TOKEN}.md"}
    await house.ingest({f"{TOKEN}-doc": TEXT}, **beside)
    await house.put(f"{TOKEN}-doc", f"{TEXT} And it waits.", **beside)
    reader = msgspec.structs.replace(house.principal, groups=(NAME, "staff"))
    await ask(replace(house, principal=reader))
    assert {"cloister.answers", "cloister.lexeme_stats", "cloister.ingest_sources"} <= found.tables()
    assert "cloister.acl_sets" in found.tables(NAME)

    begun = await services.eraser.begin_document(house.slug, "kb", f"{TOKEN}-doc")
    after_first = await services.eraser.advance(begun)
    assert not (await services.searcher.search(reader, Query(text=TOKEN, mode="keyword"))).hits
    steps = [after_first.step]
    while after_first.state == "running":
        after_first = await Eraser(services.database, services.cache, approvals_required=False).advance(after_first)
        steps.append(after_first.step)

    assert steps == ["groups", "statistics", "cache", "end", None]
    assert await found.nowhere(settings.secret("migration_database_url"))
    counts = {s.store: (s.removed, s.remaining) for s in after_first.stores}
    assert counts["document_versions"] == (2, 0)
    assert counts["ingest_runs"] == (3, 0)
    assert counts["ingest_sources"] == (1, 0)
    assert counts["jobs.procrastinate_jobs"] == (1, 0)
    assert counts["answers"] == (1, 0)
    assert counts["acl_sets"] == (2, 0), "its own, and that of its older version"
    assert counts["lexeme_stats"][0] > 0
    assert counts["api_keys"] == (0, 0)
    assert (await services.searcher.search(reader, Query(text="hub"))).hits
    async with services.database.tenant(house.tenant) as connection:
        row = await (await connection.execute("SELECT document_count, chunk_count FROM collections")).fetchone()
    assert row == {"document_count": 1, "chunk_count": 1}


async def test_a_document_that_was_deleted_is_erased_from_its_jobs(services, settings, found, house):
    await house.ingest({f"{TOKEN}-doc": TEXT})
    async with services.database.tenant(house.tenant) as connection:
        await delete_document(connection, house.tenant, "kb", f"{TOKEN}-doc")
    assert "cloister.ingest_runs" in found.tables()
    erasure = await services.eraser.run(await services.eraser.begin_document(house.slug, "kb", f"{TOKEN}-doc"))
    assert {s.store: s.removed for s in erasure.stores if s.removed}.keys() >= {"ingest_runs", "lexeme_stats"}
    assert await found.nowhere(settings.secret("migration_database_url"))
    with pytest.raises(NotFound):
        await services.eraser.begin_document(house.slug, "kb", f"{TOKEN}-doc")


async def test_a_document_of_a_deleted_collection_is_erased_from_its_jobs(services, found, house):
    await house.ingest({f"{TOKEN}-doc": "The lever."})
    async with services.database.tenant(house.tenant) as connection:
        await delete_collection(connection, house.tenant, "kb")
    erasure = await services.eraser.run(await services.eraser.begin_document(house.slug, "kb", f"{TOKEN}-doc"))
    assert {s.store: s.removed for s in erasure.stores}["ingest_runs"] == 1
    assert not found.tables()


async def test_a_document_under_ingestion_does_not_come_back(services, house):
    receipt = await house.put("long", "\n\n".join(f"## Part {n}\n\nThe lever number {n} moves." for n in range(300)))
    worker = asyncio.create_task(work(services))
    await until_running(house, receipt)
    erasure = await services.eraser.run(await services.eraser.begin_document(house.slug, "kb", "long"))
    await drain_until_quiet(services)
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker
    assert {s.store: s.removed for s in erasure.stores}["ingest_runs"] == 1
    async with services.database.tenant(house.tenant) as connection:
        left = await store.document_ids(connection, house.tenant, "kb", "long")
        chunks = await (await connection.execute("SELECT count(*) AS n FROM chunks")).fetchone()
    assert (left, chunks["n"]) == ([], 0)


async def drain_until_quiet(services: Services) -> None:
    async with asyncio.timeout(60):
        while True:
            async with services.database.control() as control:
                cursor = await control.execute(
                    "SELECT count(*) AS n FROM jobs.procrastinate_jobs WHERE task_name = 'ingest.document'"
                )
                if not (await cursor.fetchone())["n"]:
                    return
            await asyncio.sleep(0.05)


async def test_a_document_put_in_again_after_it_was_erased_is_not_erased_by_what_is_left_to_do(services, house):
    await house.ingest({"d": "The lever stops the wheel."})
    begun = await services.eraser.begin_document(house.slug, "kb", "d")
    after = await services.eraser.advance(begun)
    await house.ingest({"d": "The lever is new."})
    ended = await services.eraser.run(after)
    assert ended.state == "finished"
    assert (await services.searcher.search(house.principal, Query(text="lever"))).hits


async def test_a_group_that_another_document_has_stays(services, house):
    await house.ingest({"a": "The lever.", "b": "The wheel."}, groups=["staff"])
    await services.eraser.run(await services.eraser.begin_document(house.slug, "kb", "a"))
    reader = msgspec.structs.replace(house.principal, groups=("staff",))
    assert (await services.searcher.search(reader, Query(text="wheel"))).hits


# ---------------------------------------------------------------- a person


async def test_after_the_erasure_of_a_person_the_questions_are_nowhere(services, settings, found, house):
    await house.ingest({"d": "The lever stops the wheel. Its cable is blue."})
    someone = msgspec.structs.replace(house.principal, user=PERSON)
    other = msgspec.structs.replace(house.principal, user="someone-else")
    for _ in range(3):
        await services.answerer.answer(someone, question=f"I am {TOKEN}: what does the lever stop?")
    kept = await services.answerer.answer(other, question="What does the lever stop?")
    assert found.tables() == {"cloister.answers"}

    eraser = Eraser(services.database, services.cache, approvals_required=False, batch=2)
    erasure = await eraser.run(await eraser.begin_user(house.slug, PERSON))

    assert await found.nowhere(settings.secret("migration_database_url"))
    counts = {s.store: (s.removed, s.remaining, s.note) for s in erasure.stores}
    assert counts["answers"] == (3, 0, "")
    assert counts["documents"] == (0, 0, "holds nothing of a user")
    assert (await services.answerer.get(other, kept.id)).id == kept.id


async def test_an_answer_that_was_being_written_to_an_erased_person_is_not_kept(services, house):
    await house.ingest({"d": "The lever stops the wheel."})
    someone = msgspec.structs.replace(house.principal, user=PERSON)
    asked = await services.answerer.answer(someone, question="What does the lever stop?")
    await services.eraser.run(await services.eraser.begin_user(house.slug, PERSON))

    async def keep(took_ms: float) -> int:
        answer = msgspec.structs.replace(asked, took_ms=took_ms)
        result = await services.searcher.search(someone, Query(text="lever"))
        async with services.database.tenant(house.tenant) as connection:
            await services.answerer._keep(connection, someone, answer, "asked before", result)
            row = await (await connection.execute("SELECT count(*) AS n FROM answers")).fetchone()
            assert row is not None
            return int(row["n"])

    assert await keep(3_600_000.0) == 0, "asked an hour ago, before the erasure"
    assert await keep(0.0) == 1, "asked since: the person is back"


# ---------------------------------------------------------------- the receipt


async def test_a_receipt_is_the_same_whenever_it_is_fetched_and_proves_whose_it_is(services, house):
    await house.ingest({"d": "The lever."})
    ended = await services.eraser.run(await services.eraser.begin_tenant(house.slug))
    assert await services.eraser.get(ended.erasure_id) == ended
    assert ended.digest == store.subject_digest("tenant", house.tenant, house.slug).hex()
    assert house.slug not in msgspec.json.encode(ended).decode()
    async with services.database.control() as control:
        assert await store.list_erasures(control) == [ended]
        assert await store.open_erasures(control) == []


async def test_an_erasure_that_is_finished_takes_no_further_step(services, house):
    begun = await services.eraser.begin_user(house.slug, "nobody")
    ended = await services.eraser.run(begun)
    assert await services.eraser.advance(begun) == ended
    assert (await services.eraser.begin_user(house.slug, "nobody")).erasure_id != ended.erasure_id


async def test_the_app_role_can_neither_delete_nor_backdate_a_receipt(services, house):
    await services.eraser.begin_user(house.slug, "nobody")
    for statement in ("DELETE FROM erasures", "UPDATE erasures SET started_at = now()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with services.database.tenant(house.tenant) as connection:
                await connection.execute(statement)


async def test_a_claimed_run_of_an_erased_document_writes_nothing(services, house):
    receipt = await house.put("d", "The lever.")
    async with services.database.tenant(house.tenant) as connection:
        run = await claim(connection, house.tenant, receipt.job_id)
    await services.eraser.run(await services.eraser.begin_document(house.slug, "kb", "d"))
    async with services.database.tenant(house.tenant) as connection:
        assert await claim(connection, house.tenant, run.run_id) is None
