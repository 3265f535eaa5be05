"""The cache: cold, warm, after a write, after a change of groups, after a deletion; and what lies in it."""

from typing import Final
from uuid import UUID

import msgspec

from eval.isolation.callers import Caller
from eval.isolation.canaries import new_word
from eval.isolation.estate import ALPHA, Document, Estate, Thing
from eval.isolation.judge import Judge
from eval.isolation.service import Ask
from rag.cache.base import CacheUnavailable
from rag.cache.inspection import keys_in, values_in

CACHE: Final = "cache"
CACHED: Final = "cache contents"
_STRANGERS: Final = ("alpha blue", "alpha nobody", "alpha publishable", "beta owner", "beta red")


async def try_cache(judge: Judge) -> None:
    """One query by everybody, over and over, while the document it finds is written, moved to a group, and deleted."""
    estate = judge.estate
    red = estate.callers["alpha red"]
    first = Document.new(ALPHA, "cached", estate.target.document.collection, estate.target.document.spare, "red")
    await estate.ingest([first])
    query = f"{first.title} {first.heading}"
    await _everybody(judge, "cold", query, red, first)
    statuses = await _everybody(judge, "warm", query, red, first)
    judge.ledger.open(CACHE, "" if "hit" in statuses else f"no cache at work: it said {', '.join(sorted(statuses))}")

    second = msgspec.structs.replace(first, text=new_word(), secret=new_word())
    await estate.ingest([second])
    estate.canaries.plant(c for c in first.canaries(gone=True) if c.word in {first.text, first.secret})
    await _everybody(judge, "after a write", query, red, second)

    moved = msgspec.structs.replace(second, groups=("blue",))
    await estate.ingest([moved])
    await _everybody(judge, "after a change of groups", query, estate.callers["alpha blue"], moved)

    await estate.require(Ask(method="DELETE", path=moved.path), "alpha owner")
    estate.canaries.plant(moved.canaries(gone=True))
    await _everybody(judge, "after a deletion", query, None, moved)


async def try_contents(judge: Judge, before: frozenset[bytes] | None) -> None:
    """What has come into the cache since `before`: a key under which a passage lies names the passage's tenant."""
    url = _url(judge.estate)
    if url is None or before is None:
        judge.ledger.open(CACHED, "no cache is configured, or it does not answer")
        return
    values = await values_in(url, await keys_in(url) - before)
    judge.ledger.open(CACHED, "" if values else "nothing of ours came to lie in the cache")
    for key, value in values.items():
        # Only words that nobody has said: a query may lie in the cache of whoever sent it.
        held = [
            canary for canary in judge.estate.canaries.traces(key + value) if canary.unsaid and canary.kind != "name"
        ]
        name = key.split(b":")[0].decode(errors="replace")
        judge.ledger.tried(CACHED, name, "-", repr(key)[:120], f"{len(held)} canaries")
        stray = [canary for canary in held if not _names(judge.estate, key, canary.tenant)]
        if stray:
            judge.ledger.found(
                CACHED, name, "-", f"a key {name}… does not name the tenant whose passage it holds", stray
            )


async def contents(estate: Estate) -> frozenset[bytes] | None:
    """The keys that lie in the cache now; None without one."""
    url = _url(estate)
    try:
        return await keys_in(url) if url else None
    except CacheUnavailable:
        return None


async def _everybody(judge: Judge, moment: str, query: str, reader: Caller | None, document: Document) -> set[str]:
    """The reader first, so that the cache is warm for those who follow; gives what was said of the cache."""
    statuses: set[str] = set()
    for body in ({"query": query}, {"query": query, "mode": "keyword"}):
        ask = Ask(method="POST", path="/v1/search", body=body)
        if reader is not None:
            thing = Thing(document=document, ids={})
            shown = (await judge.shows(CACHE, moment, reader, ask, thing)).json()
            statuses.add(str(shown.get("cache")) if isinstance(shown, dict) else "nothing")
        for name in ("alpha red", "alpha owner", *_STRANGERS):
            await judge.ask(CACHE, moment, judge.estate.callers[name], ask)
    question = Ask(method="POST", path="/v1/answers", body={"question": f"{document.question}"})
    for name in ("alpha red", "alpha blue", "beta owner"):
        await judge.ask(CACHE, moment, judge.estate.callers[name], question)
    return statuses


def _names(estate: Estate, key: bytes, tenant: str) -> bool:
    owner: UUID = estate.tenants[tenant].tenant_id
    return str(owner).encode() in key or owner.hex.encode() in key


def _url(estate: Estate) -> str | None:
    found = estate.services.settings.redis_url
    return found.reveal() if found else None
