"""PostgreSQL asked directly, as the role that serves: each table without a condition, and what runs past policies."""

import hashlib
from collections.abc import Mapping
from typing import Final

from eval.isolation.callers import Caller
from eval.isolation.estate import BETA, Estate
from eval.isolation.judge import Judge
from rag.store.probes import definer_functions, rows_of, tenant_tables

TABLES: Final = "database"

# Tables that the machine writes by itself: statistics, counts, the times of a key's use, what was refused.
MOVING: Final = frozenset(
    {
        "api_keys",
        "audit_chains",
        "audit_events",
        "chunk_lexemes",
        "corpora",
        "lexeme_stats",
        "retention",
        "vocabulary",
    }
)

# The functions that row-level security does not bind, and what keeps a tenant from another's rows there: `probed` by
# one of the statements below, or the reason why none of a document's words can come out of it.
DEFINERS: Final[Mapping[str, str]] = {
    "activate_embedding_space": "for operators: moves tenants, gives their slugs",
    "append_audit": "takes events for the connection's own tenant, gives a number",
    "attach_partition": "for workers: moves a tenant's vectors, gives a word",
    "audit_heads": "for operators: chains and hashes",
    "audit_page": "for operators: events, which name documents by their ids",
    "authenticate": "at the door: takes a digest of a key, gives whose it is",
    "authenticate_widget": "at the door: takes the id of a key, gives its tenant and secret",
    "build_partition": "for workers: copies a tenant's vectors, gives a word",
    "catch_up_partition": "for workers: copies a tenant's vectors, gives a number",
    "claim_purges": "for workers: ids of tenants",
    "close_tenant": "for operators: gives an id",
    "count_rows": "counts, of the connection's own tenant",
    "create_operator_key": "gives an id",
    "create_tenant": "gives the tenant that it made",
    "decide_approval": "for operators: approvals",
    "delete_tenant": "for operators: gives yes or no",
    "dissolve_partition": "for workers: moves a tenant's vectors, gives a word",
    "embedding_space_usage": "for operators: counts, and slugs",
    "find_erasures": "for operators: receipts, which name nothing that was erased",
    "forget_requests": "a trigger of the deletion of a tenant",
    "ingest_backlog": "gives counts over all tenants",
    "known_keys": "takes digests of keys, gives whose they are",
    "lexical_candidates": "probed",
    "lexical_matches": "probed",
    "list_approvals": "for operators: approvals",
    "list_operator_keys": "gives operators' keys",
    "list_tenants": "for operators: names and counts",
    "misplaced_tenants": "for workers: ids of tenants",
    "near_words": "probed",
    "operator_keys": "gives operators' keys",
    "origin_listed": "gives yes or no, of no tenant in particular",
    "partition_totals": "gives counts over all tenants",
    "purge_approvals": "gives a number",
    "read_approval": "for operators: approvals",
    "request_approval": "for operators: approvals",
    "resolve_tenant": "at the door: takes a slug, gives its id",
    "revoke_operator_key": "gives yes or no",
    "rotate_operator_key": "gives an id",
    "undelivered_runs": "for workers: ids of runs",
    "use_approval": "for operators: approvals",
    "word_counts": "probed",
}


async def try_database(judge: Judge) -> None:
    """Read every table with no tenant and with the wrong one, and know every function that policies do not bind."""
    await _try_tables(judge)
    await _try_definers(judge)


async def rows_of_tenant(estate: Estate, tenant: str) -> dict[str, str]:
    """A digest of the tenant's rows in each table, but for those that move by themselves."""
    digests: dict[str, str] = {}
    async with estate.services.database.control() as control:
        tables = await tenant_tables(control)
    async with estate.services.database.tenant(estate.tenants[tenant].tenant_id) as connection:
        for table in tables:
            rows = await rows_of(connection, table) if table not in MOVING else None
            digests[table] = hashlib.sha256("\n".join(sorted(rows or [])).encode()).hexdigest()
    return digests


async def _try_tables(judge: Judge) -> None:
    database = judge.estate.services.database
    nobody = Caller(name="no tenant", key=None, kind="void")
    async with database.control() as control:
        tables = await tenant_tables(control)
        for table in tables:
            rows = await rows_of(control, table)
            _weigh(judge, table, nobody, "read without a tenant", rows)
            if rows is not None:
                judge.ledger.found(
                    TABLES, table, nobody.name, f"{table} can be read with no tenant set: it has to raise"
                )
    async with database.tenant(judge.estate.tenants[BETA].tenant_id) as connection:
        for table in tables:
            rows = await rows_of(connection, table)
            _weigh(judge, table, judge.estate.callers["beta owner"], "read whole as the other tenant", rows)


def _weigh(judge: Judge, table: str, caller: Caller, tried: str, rows: list[str] | None) -> None:
    """Only words that nobody has said: a caller's own rows keep what it asked for."""
    told = "\n".join(rows or []).encode()
    shown = judge.estate.canaries.traces(told)
    leaked = [canary for canary in shown if canary.unsaid and not caller.may_see(canary)]
    judge.ledger.tried(TABLES, table, caller.name, tried, "refused" if rows is None else f"{len(rows)} rows")
    if leaked:
        judge.ledger.found(
            TABLES, table, caller.name, f"{table}, {tried}, shows rows that are not the caller's", leaked
        )


async def _try_definers(judge: Judge) -> None:
    async with judge.estate.services.database.control() as control:
        names = await definer_functions(control)
    for name in names:
        known = DEFINERS.get(name)
        judge.ledger.tried(TABLES, name, "-", "a function that runs with its owner's rights", known or "unknown")
        if known is None:
            what = f"{name} runs past row-level security and is not in the table of eval/isolation/database.py"
            judge.ledger.found(TABLES, name, "-", what)
