"""THE TABLE: how each route is driven. A route that is not in it fails the check, by its name.

To add a route, add a line to `DRIVES` under its operation id:

    "getSynonyms": reads(*RECORDS),                       a GET; its path's ids are filled in from the canaries
    "putSynonyms": changes("manage", body=lambda _: {"words": ["taken"]}),
    "suggest":     asks("search", bodies=suggestions, publishable=True),
    "getUsage":    administers(),

What the line says is the promise that is held against the service: which scopes open the route (every other kind of
key must be refused), whether access groups decide over it, and what to send. What is tried then is the same for all:
the other tenant's keys with alpha's ids and with ids of nothing, which must be answered alike; keys of the wrong group;
keys that are expired, revoked, invented, publishable, or an operator's; broken requests; cursors of somebody else; and
a key that may, which must find the canary, or the rest would prove nothing.

A path parameter that no canary has an id for yet needs a line in `RECIPES`: how a reader of the group red makes one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from eval.isolation.callers import Caller
from eval.isolation.estate import Document, Recipe

Opening = frozenset[str] | Literal["public", "operator"]
Fields = frozenset[str]  # what the service's description says of a body: a field it does not know is not sent


class Body(msgspec.Struct, frozen=True):
    """Something to send.

    `alike`: the answer may not even differ from one about words that stand nowhere, for everybody who may not see
    them (`all`), or for other tenants (`outsiders`).
    """

    value: dict[str, Any] | None = None
    alike: Literal["all", "outsiders", "no"] = "no"


Bodies = Callable[[Document, Fields], Iterable[Body]]


class Drive(msgspec.Struct, frozen=True, kw_only=True):
    """How a route is driven.

    `decided_by` is what the ids in its path stand for: something of the tenant, or something that access groups open
    and close. `shows`: its answer holds a canary for whom it is open to. `crosses`: other tenants also try alpha's
    inner id below an outer one of their own.
    """

    opens: Opening
    publishable: bool = False
    decided_by: Literal["tenant", "groups"] = "tenant"
    shows: bool = True
    changes: bool = False
    crosses: bool = True
    bodies: Bodies

    def admits(self, caller: Caller) -> bool:
        """Whether the caller's key opens the route at all."""
        if self.opens == "public":
            return True
        if self.opens == "operator" or caller.kind in {"operator", "void"}:
            return self.opens == "operator" and caller.kind == "operator"
        return bool(self.opens & caller.scopes) and (caller.kind == "secret" or self.publishable)


def nothing(_: Document, __: Fields) -> Iterable[Body]:
    """No body."""
    yield Body()


def only(body: Callable[[Document], dict[str, Any]]) -> Bodies:
    """One body, made from a document's words."""
    return lambda document, _: [Body(body(document), "all")]


def public() -> Drive:
    """A route for everybody: it may show nothing of any tenant."""
    return Drive(opens="public", shows=False, bodies=nothing)


def reads(*scopes: str, groups: bool = False, shows: bool = True) -> Drive:
    """A GET that shows something of a document or a tenant; `groups`: for those alone whose groups open it."""
    return Drive(opens=frozenset(scopes), decided_by="groups" if groups else "tenant", shows=shows, bodies=nothing)


def asks(*scopes: str, bodies: Bodies, publishable: bool = False) -> Drive:
    """A POST that reads: what it answers is decided by its body and by who asks."""
    return Drive(opens=frozenset(scopes), publishable=publishable, bodies=bodies)


def changes(*scopes: str, body: Callable[[Document], dict[str, Any]] | None = None, crosses: bool = True) -> Drive:
    """A call that changes something: tried by those alone who may not, and nothing of alpha may have changed after.

    What it sends may hold no word under watch: the other tenant may get a thing of that name.
    """
    bodies = only(body) if body else nothing
    return Drive(opens=frozenset(scopes), shows=False, changes=True, bodies=bodies, crosses=crosses)


def administers(
    *, shows: bool = True, changing: bool = False, body: Callable[[Document], dict[str, Any]] | None = None
) -> Drive:
    """A call of an operator's."""
    bodies = only(body) if body else nothing
    return Drive(opens="operator", shows=shows and not changing, changes=changing, bodies=bodies)


def searches(document: Document, fields: Fields) -> Iterable[Body]:
    """Searches for a document in every mode, with everything that can be asked for beside the query."""
    words = f"{document.title} {document.heading} {document.text}"
    # Without falling back on meaning: that gives everybody the nearest of what they may see, whatever was asked.
    keyword = {"query": document.text, "mode": "keyword", **({"fallback": False} if "fallback" in fields else {})}
    yield Body({"query": words})
    yield Body({"query": words, "mode": "semantic", "limit": 100})
    yield Body({"query": words, "offset": 1, "limit": 1})
    yield Body({"query": words, "explain": True})
    yield Body({**keyword, "highlight": True}, "all")
    yield Body({**keyword, "explain": True}, "outsiders")
    yield Body({"query": words, "filters": {"shelf": document.shelf}}, "all")
    yield Body({"query": "manual", "filters": {"shelf": {"$exists": True}}, "limit": 100})
    yield Body({"query": words, "collections": [document.collection]}, "outsiders")
    typo = document.text[:7] + document.text[8] + document.text[7] + document.text[9:]
    yield Body({**keyword, "query": typo}, "all")
    yield Body({"query": typo, "mode": "keyword"})
    if "prefix" in fields:
        yield Body({**keyword, "query": document.title[:9], "prefix": True}, "all")
    optional: dict[str, Any] = {
        "facets": ["shelf"],
        "prefix": True,
        "group_by": "document",
        "rerank": True,
        "sort": {"field": "shelf"},
    }
    for name in optional.keys() & fields:
        query = document.title[:9] if name == "prefix" else words
        yield Body({"query": query, name: optional[name]})


def questions(document: Document, _: Fields) -> Iterable[Body]:
    """Questions that the document answers."""
    yield Body({"question": document.question})
    yield Body({"question": document.question, "filters": {"shelf": document.shelf}}, "all")
    yield Body({"question": document.question, "collections": [document.collection]}, "outsiders")


RECORDS: Final = ("search", "ingest", "manage")

DRIVES: Final[Mapping[str, Drive]] = {
    # open to everybody
    "live": public(),
    "ready": public(),
    "metrics": public(),
    "describeProblem": public(),
    # asking
    "search": asks("search", bodies=searches, publishable=True),
    "createAnswer": asks("answer", bodies=questions),
    "getAnswer": reads("answer", groups=True),
    # collections and documents
    "listCollections": reads(*RECORDS),
    "getCollection": reads(*RECORDS),
    "createCollection": changes("ingest", "manage", body=lambda d: {"name": d.spare}),
    "changeCollection": changes("ingest", "manage", body=lambda _: {"facet_fields": ["taken"]}),
    "listPins": reads("ingest", "manage", shows=False),
    "replacePins": changes("ingest", "manage", body=lambda _: {"pins": [{"query": "taken", "documents": ["over"]}]}),
    "deleteCollection": changes("ingest", "manage"),
    "listDocuments": reads(*RECORDS),
    "getDocument": reads(*RECORDS, groups=True),
    "listVersions": reads(*RECORDS, groups=True),
    "putDocument": changes("ingest", body=lambda _: {"text": "Taken over."}, crosses=False),
    "deleteDocument": changes("ingest"),
    # jobs
    "listJobs": reads("ingest", "manage"),
    "getJob": reads("ingest", "manage"),
    "retryJob": changes("ingest", "manage"),
    "cancelJob": changes("ingest", "manage"),
    # a tenant's own settings
    "getRetention": reads("manage", shows=False),
    "getUsage": reads("manage", shows=False),
    "updateRetention": changes("manage", body=lambda _: {"answers_days": 7}),
    # operators
    "listTenants": administers(shows=False),  # ours may stand on a later page
    "getTenant": administers(),
    "changeTenant": administers(changing=True, body=lambda _: {"limits": {}}),
    "createTenant": administers(changing=True, body=lambda d: {"slug": f"taken-{d.spare}"}),
    "deleteTenant": administers(changing=True),
    "listKeys": administers(),
    "createKey": administers(changing=True, body=lambda _: {"scopes": ["search"], "groups": ["*"]}),
    "revokeKey": administers(changing=True),
    "listAuditEvents": administers(shows=False),  # alpha's may stand on a later page
    "erase": administers(changing=True, body=lambda d: {"kind": "tenant", "tenant": d.spare}),
    "listErasures": administers(shows=False),
    "getErasure": administers(shows=False),
    "listApprovals": administers(shows=False),
    "getApproval": administers(shows=False),
    "grantApproval": administers(changing=True),
    "denyApproval": administers(changing=True),
    "listEmbeddingSpaces": administers(shows=False),
    "activateEmbeddingSpace": administers(changing=True, body=lambda d: {"tenant": d.spare}),
    "rotateKey": administers(changing=True),
}

# path parameter: how a reader of the group red makes a thing that has such an id
RECIPES: Final[Mapping[str, Recipe]] = {
    "answer_id": Recipe("createAnswer", "/v1/answers", lambda d: {"question": d.question}),
}

# path parameter: a value that is the same for everybody
FIXED: Final[Mapping[str, str]] = {
    "code": "not_found",
    "approval_id": "00000000-0000-4000-8000-000000000000",  # operators' own
    "erasure_id": "00000000-0000-4000-8000-000000000000",  # operators' own
    "space": "minilm_l6_v2",
}
