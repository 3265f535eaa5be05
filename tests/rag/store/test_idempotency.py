import asyncio
import os
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from rag.domain import Answer, Citation, TenantId, Usage
from rag.errors import KeyReused, NotFound, RequestInProgress
from rag.store import idempotency as module
from rag.store.answers import keep_answer
from rag.store.documents import delete_document
from rag.store.idempotency import Attempt, Reply, claim, finish, purge_expired, release
from rag.store.tenants import delete_tenant

OK = Reply(status=201, media_type="application/json", location="/v1/x", body=b'{"x":1}')


def attempt_of(owner, **more):
    fields = {"tenant": owner.tenant, "caller": bytes(32), "key": "k", "fingerprint": b"f" * 32}
    return Attempt(**{**fields, **more})


async def begin(owner, attempt, reader=None):
    async with owner.connect() as connection:
        return await claim(connection, attempt, reader)


async def end(owner, attempt, lease, reply=OK):
    async with owner.connect() as connection:
        await finish(connection, attempt, lease, reply)


async def done(owner, attempt, reply=OK):
    await end(owner, attempt, await begin(owner, attempt), reply)


async def test_what_was_answered_is_given_again(acme):
    attempt = attempt_of(acme)
    assert isinstance(await begin(acme, attempt), UUID)
    with pytest.raises(RequestInProgress):
        await begin(acme, attempt)
    async with acme.connect() as connection:
        await connection.execute("DELETE FROM idempotency_records")
    await done(acme, attempt)
    assert await begin(acme, attempt) == OK


async def test_another_request_under_the_same_key_is_refused(acme):
    await done(acme, attempt_of(acme))
    with pytest.raises(KeyReused):
        await begin(acme, attempt_of(acme, fingerprint=b"g" * 32))


async def test_another_caller_and_another_tenant_are_not_meant(acme, bolt):
    await done(acme, attempt_of(acme))
    assert isinstance(await begin(acme, attempt_of(acme, caller=b"c" * 32)), UUID)
    assert isinstance(await begin(bolt, attempt_of(bolt)), UUID)


async def test_of_many_at_once_one_holds_the_key(acme):
    attempt = attempt_of(acme)
    found = await asyncio.gather(*(begin(acme, attempt) for _ in range(8)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["RequestInProgress"] * 7 + ["UUID"]


async def test_a_key_that_is_let_go_is_free(acme):
    attempt = attempt_of(acme)
    lease = await begin(acme, attempt)
    async with acme.connect() as connection:
        await release(connection, attempt, lease)
    assert isinstance(await begin(acme, attempt), UUID)


async def test_a_lease_that_ended_frees_the_key_and_fences_its_holder_off(acme, monkeypatch):
    attempt = attempt_of(acme)
    monkeypatch.setattr(module, "LEASE_S", -1)
    dead = await begin(acme, attempt)
    monkeypatch.undo()
    alive = await begin(acme, attempt)
    assert isinstance(alive, UUID)
    await end(acme, attempt, dead, Reply(status=200, body=b"late"))
    async with acme.connect() as connection:
        await release(connection, attempt, dead)
    with pytest.raises(RequestInProgress):
        await begin(acme, attempt)
    await end(acme, attempt, alive)
    assert await begin(acme, attempt) == OK


async def test_after_a_day_the_key_is_free_whatever_came_with_it(acme, monkeypatch):
    monkeypatch.setattr(module, "KEPT_S", -1)
    await done(acme, attempt_of(acme))
    assert isinstance(await begin(acme, attempt_of(acme, fingerprint=b"g" * 32)), UUID)
    monkeypatch.undo()
    assert module.KEPT_S == 24 * 60 * 60


async def test_expired_records_are_purged_so_many_at_a_time(acme, bolt, monkeypatch):
    await done(acme, attempt_of(acme, key="fresh"))
    monkeypatch.setattr(module, "KEPT_S", -1)
    for owner in (acme, bolt):
        for number in range(3):
            await done(owner, attempt_of(owner, key=f"{number}"))
    async with acme.connect() as connection:
        assert [await purge_expired(connection, acme.tenant, 2) for _ in range(3)] == [2, 1, 0]
    assert await begin(acme, attempt_of(acme, key="fresh")) == OK
    async with bolt.connect() as connection:
        assert await purge_expired(connection, bolt.tenant, 9) == 3


async def test_a_deleted_tenants_records_go_with_it(acme, database, admin_url):
    await done(acme, attempt_of(acme))
    async with database.control() as control:
        await delete_tenant(control, acme.tenant)
    with psycopg.connect(admin_url) as admin:
        assert admin.execute("SELECT count(*) FROM cloister.idempotency_records").fetchone() == (0,)


async def test_an_operators_records_stand_under_its_keys_id(database, acme):
    """No tenant has the id of a key, and row-level security keeps the two apart like any two tenants."""
    operator = TenantId(uuid4())
    attempt = Attempt(tenant=operator, caller=bytes(32), key="k", fingerprint=bytes(32))
    async with database.tenant(operator) as connection:
        lease = await claim(connection, attempt, None)
        assert isinstance(lease, UUID)
        await finish(connection, attempt, lease, OK)
    assert isinstance(await begin(acme, attempt_of(acme)), UUID)
    async with database.tenant(operator) as connection:
        assert await claim(connection, attempt, None) == OK


# --- replies that show an answer


async def answered(owner, external_id, **more):
    """A kept answer that quotes a document, and the reply that shows it."""
    receipt = await owner.serve(external_id, "The brake is red.", **more)
    citation = Citation(
        number=1,
        chunk_id=uuid4(),
        document_id=receipt.document_id,
        document_version=1,
        title=None,
        uri=None,
        heading_path=[],
        page=None,
        quote="The brake is red.",
        start=0,
        end=17,
    )
    answer = Answer(
        id=uuid4(),
        status="answered",
        text="The brake is red.",
        sentences=[],
        citations=[citation],
        refusal=None,
        confidence=1.0,
        gateway="extractive",
        model=None,
        usage=Usage(),
        took_ms=1.0,
        request_id="",
    )
    async with owner.connect() as connection:
        await keep_answer(
            connection,
            owner.tenant,
            answer,
            key=owner.principal.key_id,
            question="?",
            corpus_version=1,
            space="minilm_l6_v2",
            passages=[],
        )
    return msgspec.structs.replace(OK, answer=answer.id)


async def test_an_answer_is_given_again_to_who_may_read_it(acme):
    attempt = attempt_of(acme)
    reply = await answered(acme, "a")
    await done(acme, attempt, reply)
    assert await begin(acme, attempt, acme.principal) == reply


async def test_one_that_its_caller_may_no_longer_read_is_forgotten(acme):
    attempt = attempt_of(acme)
    await done(acme, attempt, await answered(acme, "a"))
    await acme.serve("a", "The brake is red, for staff.", groups=["staff"])
    assert isinstance(await begin(acme, attempt, acme.principal), UUID)


async def test_one_whose_document_was_deleted_is_gone(acme):
    attempt = attempt_of(acme)
    await done(acme, attempt, await answered(acme, "a"))
    async with acme.connect() as connection:
        await delete_document(connection, acme.tenant, "kb", "a")
        rows = await (await connection.execute("SELECT count(*) AS n FROM idempotency_records")).fetchone()
    assert rows == {"n": 0}
    assert isinstance(await begin(acme, attempt, acme.principal), UUID)


async def test_one_that_is_not_kept_itself_is_not_kept_here(acme):
    attempt = attempt_of(acme)
    lease = await begin(acme, attempt)
    with pytest.raises(NotFound):
        await end(acme, attempt, lease, msgspec.structs.replace(OK, answer=uuid4()))


async def test_nothing_but_the_shape_of_a_digest_is_taken(acme):
    with pytest.raises(psycopg.errors.CheckViolation):
        await begin(acme, attempt_of(acme, caller=os.urandom(31)))
