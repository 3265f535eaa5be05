"""Each layer of isolation taken away in turn: the check finds it, and names the door and what leaked."""

import re
from collections.abc import Callable

import msgspec
import pytest
from litestar import get
from litestar.di import NamedDependency

from eval.isolation import routes
from eval.isolation.drives import reads
from eval.isolation.ledger import Finding, Report
from rag.api import jobs, search
from rag.api.access import allow, check_access
from rag.domain import Scope, SearchResult
from rag.errors import Forbidden, NotFound
from rag.retrieval import cached
from rag.retrieval.cached import CachedRetriever, Entry
from rag.store import collections
from rag.store.database import Database
from rag.store.statements import STATEMENTS
from rag.tenancy import Operator, Principal

in_one_loop = pytest.mark.asyncio(loop_scope="module")

TENANT = re.compile(r"\b(?:\w+\.)?tenant_id = %\(tenant\)s")
GROUPS = re.compile(r"\b(?:\w+\.)?acl_id = ANY \(%\(acl\)s(?:::int\[\])?\)")
CORPUS = ("chunks", "documents", "collections", "document_versions")


def found(report: Report, door: str, name: str, caller: str) -> Finding:
    """All that was found at this door, under this name, as this caller, in one."""
    fitting = [f for f in report.findings if (f.door, f.name, f.caller) == (door, name, caller)]
    assert fitting, [(f.door, f.name, f.caller) for f in report.findings]
    leaked = sorted({canary for f in fitting for canary in f.leaked})
    return Finding(door, name, caller, "\n".join(f.what for f in fitting), leaked)


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, re.Pattern[str]], None]:
    """Take a condition out of a statement."""

    def change(name: str, condition: re.Pattern[str]) -> None:
        assert condition.search(STATEMENTS[name])
        monkeypatch.setitem(STATEMENTS, name, condition.sub("TRUE", STATEMENTS[name]))

    return change


@in_one_loop
async def test_an_untouched_installation_leaks_nothing(check):
    report = await check("search", "answers", "documents", "database", "statements", "cache", "cache contents")
    assert report.findings == []
    assert all(tally.attempts for tally in report.doors if tally.door != "exports")


# --- statements and row-level security: either is enough alone


@in_one_loop
async def test_row_level_security_alone_holds(check, change):
    for name in ("documents.get", "documents.list", "answers.get", "search.dense", "search.rescore", "search.hydrate"):
        change(name, TENANT)
    assert (await check("search", "answers", "documents", "statements")).findings == []


@in_one_loop
async def test_a_statement_without_its_tenant_is_found_where_no_policy_holds(check, change, without_policies):
    change("documents.get", TENANT)
    with without_policies("documents", "collections", "acl_sets"):
        report = await check("documents", "statements")
    leak = found(report, "documents", "getDocument", "beta owner")
    assert "is answered unlike what does not exist: status 200 and not 404" in leak.what
    assert "title of alpha/red" in leak.leaked
    assert "title of alpha/red" in found(report, "statements", "get_document", "beta owner").leaked


@in_one_loop
async def test_a_table_without_its_policy_is_named_though_every_statement_holds(check, without_policies):
    with without_policies("chunks"):
        report = await check("search", "database")
    assert {(f.door, f.name) for f in report.findings} == {("database", "chunks")}
    assert "secret of alpha/red" in found(report, "database", "chunks", "no tenant").leaked
    assert "secret of alpha/red" in found(report, "database", "chunks", "beta owner").leaked


@in_one_loop
async def test_a_hydration_without_row_level_security_is_named_though_the_legs_hold(check, change, without_policies):
    change("search.hydrate", TENANT)
    with without_policies(*CORPUS):
        report = await check("search", "statements")
    leak = found(report, "statements", "hydrate", "beta owner")
    assert "secret of alpha/red" in leak.leaked
    assert not [f for f in report.findings if f.door == "search"]


@in_one_loop
async def test_a_hydration_without_the_groups_is_named(check, change):
    change("search.hydrate", GROUPS)
    report = await check("statements")
    assert {(f.name, f.caller) for f in report.findings} == {("hydrate", "alpha blue")}
    assert "secret of alpha/red" in report.findings[0].leaked


@in_one_loop
async def test_a_search_without_the_groups_shows_at_its_route(check, change):
    for name in ("search.dense", "search.rescore", "search.hydrate"):
        change(name, GROUPS)
    report = await check("search")
    for caller in ("alpha blue", "alpha nobody", "alpha publishable"):
        assert "secret of alpha/red" in found(report, "search", "search", caller).leaked
    assert not [f for f in report.findings if f.caller.startswith("beta") and "alpha" in str(f.leaked)]


@in_one_loop
async def test_a_function_with_its_owners_rights_that_forgets_the_tenant_is_named(check, as_owner):
    (written,) = as_owner.execute("SELECT pg_get_functiondef('cloister.lexical_candidates'::regproc)").fetchone()
    guard = "AND p_tenant = current_setting('app.tenant_id')::uuid"
    assert guard in written
    as_owner.execute(written.replace(guard, ""))
    try:
        report = await check("statements")
    finally:
        as_owner.execute(written)
    assert found(report, "statements", "lexical_candidates", "beta owner").leaked == ["chunk_id of alpha/red"]


@in_one_loop
async def test_a_function_that_nobody_has_looked_at_is_named(check, as_owner):
    as_owner.execute(
        "CREATE FUNCTION cloister.peek() RETURNS text LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT text FROM cloister.chunks LIMIT 1'"
    )
    try:
        report = await check("database")
    finally:
        as_owner.execute("DROP FUNCTION cloister.peek")
    assert "runs past row-level security" in found(report, "database", "peek", "-").what


# --- the cache


@in_one_loop
async def test_a_cache_key_without_the_tenant_is_named(check, monkeypatch):
    whole = cached.cache_key
    monkeypatch.setattr(cached, "cache_key", lambda *of: re.sub(r":[0-9a-f-]{36}:", ":", whole(*of)))
    report = await check("cache", "cache contents")
    leak = found(report, "cache contents", "search", "-")
    assert "does not name the tenant" in leak.what
    assert {"secret of alpha/cached", "chunk_id of alpha/red"} & set(leak.leaked)


@in_one_loop
async def test_a_cache_that_goes_by_the_query_alone_shows_it_to_the_other_tenant(check, monkeypatch):
    monkeypatch.setattr(cached, "cache_key", lambda _, __, query, ___: f"search:{query.text}:{query.mode}")
    monkeypatch.setattr(CachedRetriever, "_read", _unchecked)
    report = await check("cache")
    for caller in ("beta owner", "beta red"):
        assert "secret of alpha/cached" in found(report, "cache", "cold", caller).leaked
    assert "secret of alpha/cached" in found(report, "cache", "after a deletion", "alpha owner").leaked


@in_one_loop
async def test_a_cache_key_without_the_groups_shows_it_to_the_wrong_group(check, monkeypatch):
    whole = cached.cache_key

    def without_groups(principal, corpus, query, ranking) -> str:
        alike = msgspec.structs.replace(principal, groups=())
        return whole(alike, msgspec.structs.replace(corpus, acl_ids=[]), query, ranking)

    monkeypatch.setattr(cached, "cache_key", without_groups)
    report = await check("cache")
    for caller in ("alpha blue", "alpha nobody"):
        assert "secret of alpha/cached" in found(report, "cache", "cold", caller).leaked
    assert not [f for f in report.findings if f.caller.startswith("beta")]


# --- the routes


@in_one_loop
async def test_a_route_that_is_not_known_is_named(check, monkeypatch):
    _add_route(monkeypatch)
    report = await check("search")
    assert "GET /v1/peek is not in the table" in found(report, "unknown routes", "peek", "-").what


@in_one_loop
async def test_a_new_route_that_leaks_needs_one_line_to_be_caught(check, monkeypatch, without_policies):
    _add_route(monkeypatch)
    monkeypatch.setattr(routes, "DRIVES", {**routes.DRIVES, "peek": reads("search")})
    with without_policies("documents"):
        report = await check("search")
    assert "title of alpha/red" in found(report, "search", "peek", "beta owner").leaked
    assert [f for f in report.findings if f.name != "peek"] == []


@in_one_loop
async def test_an_answer_that_other_tenants_can_read_is_named(check, monkeypatch, without_policies):
    monkeypatch.setitem(STATEMENTS, "answers.get", "SELECT a.body FROM answers a WHERE a.answer_id = %(answer)s")
    with without_policies("answers"):
        report = await check("answers")
    leak = found(report, "answers", "getAnswer", "beta owner")
    assert "title of alpha/red" in leak.leaked
    assert "title of alpha/red" in found(report, "answers", "getAnswer", "alpha blue").leaked


@in_one_loop
async def test_a_name_that_is_answered_unlike_an_absent_one_is_named(check, monkeypatch, estate):
    """A refusal instead of a 404 says that another tenant has it."""
    honest = collections.get_collection

    async def tell(connection, tenant, name):
        try:
            return await honest(connection, tenant, name)
        except NotFound:
            if name == estate.target.document.collection:
                raise Forbidden("this is somebody else's") from None
            raise

    monkeypatch.setattr(collections, "get_collection", tell)
    leak = found(await check("collections"), "collections", "getCollection", "beta owner")
    assert "unlike what does not exist: status 403 and not 404" in leak.what


@in_one_loop
async def test_a_problem_that_tells_what_it_found_is_named(check, monkeypatch, estate):
    async def tell(*_):
        raise NotFound(f"no such job, unlike '{estate.target.document.title}'")

    monkeypatch.setattr(jobs.store, "get_job", tell)
    leak = found(await check("jobs"), "jobs", "getJob", "beta owner")
    assert leak.leaked == ["title of alpha/red"]


@in_one_loop
async def test_a_write_into_the_other_tenant_is_named(check, change, without_policies):
    for name in ("collections.get", "collections.lock", "collections.update", "collections.locate"):
        change(name, TENANT)
    with without_policies("collections"):
        report = await check("collections")
    written = [f.what for f in report.findings if (f.name, f.caller) == ("changeCollection", "beta")]
    assert written == ["PATCH /v1/collections/{collection} as somebody else's changed alpha's rows in collections"]


# --- credentials


@in_one_loop
async def test_a_revoked_key_that_goes_on_working_is_named(check, monkeypatch, estate):
    authenticator = estate.services.authenticator
    identify = authenticator.identify
    remembered = await identify(estate.callers["alpha owner"].key)

    async def remember(key: str) -> Principal | Operator:
        return remembered if key == estate.callers["revoked"].key else await identify(key)

    monkeypatch.setattr(authenticator, "identify", remember)
    report = await check("credentials")
    assert "is not refused (200)" in found(report, "credentials", "listJobs", "revoked").what
    assert {f.caller for f in report.findings} == {"revoked"}


@in_one_loop
async def test_a_publishable_key_that_may_more_than_search_is_named(check, monkeypatch):
    def lax(connection, handler) -> None:
        who = connection.scope.get("user")
        if isinstance(who, Principal) and who.kind == "publishable":
            return
        check_access(connection, handler)

    monkeypatch.setattr("rag.app.check_access", lax)
    monkeypatch.setattr("rag.api.lanes.check_access", lax)
    report = await check("credentials")
    assert "is not refused" in found(report, "credentials", "listDocuments", "alpha publishable").what
    assert {f.caller for f in report.findings} >= {"alpha publishable", "beta publishable"}
    assert all("publishable" in f.caller or "widget" in f.caller for f in report.findings)


def _add_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route that lists the titles of all tenants, if only the database lets it."""

    @get("/v1/peek", operation_id="peek", tags=["search"], summary="Peek", opt=allow(Scope.SEARCH))
    async def peek(principal: NamedDependency[Principal], database: NamedDependency[Database]) -> list[str]:
        """Titles."""
        async with database.tenant(principal.tenant) as connection:
            rows = await (await connection.execute("SELECT title FROM documents")).fetchall()
        return [str(row["title"]) for row in rows]

    monkeypatch.setattr(search, "ROUTES", (*search.ROUTES, peek))


async def _unchecked(self: CachedRetriever, _: Principal, key: str) -> SearchResult | None:
    raw = await self._cache.get(key)
    return None if raw is None else msgspec.msgpack.decode(raw, type=Entry).result
