"""How a dense search is done: decided here from kept counts, never by PostgreSQL, which knows nothing of recall.

An exact scan has recall 1 under any filter and costs time for every chunk that it reads. The approximate index of a
tenant's own partition costs by how far it is searched, and knows no filter: what it names is filtered afterwards, so
the smaller the share of the tenant that is in scope, the further it has to be searched.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

EXACT_ROWS: Final = 10_000  # an exact scan of so many takes about 5 ms
_ROWS_A_STEP: Final = 40  # chunks that an exact scan reads in the time of one step of effort: 0.5 µs each, and 22 µs
_LEAST_EFFORT: Final = 200
_MOST_EFFORT: Final = 1_000  # pgvector's own bound
_EFFORT_A_ROW: Final = 1.3
_SURPLUS: Final = 3.6  # rows in scope that are expected among those fetched, for each that is asked for

_HEAD: Final = 10
_TOO_DEEP: Final = 3.0  # times as deep as they would stand if scope and nearness had nothing to do with each other

DenseMethod = Literal["exact", "partition", "hnsw"]


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """What lies before a dense search.

    `rows` are the chunks of the searched collections, which an exact scan reads; `share` is the part of the tenant's
    chunks that is in scope after collections, groups and filter, 0 to 1, and may be an estimate: a wrong one costs
    time, never recall.
    """

    rows: int
    partitioned: bool
    share: float


class DensePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A way to search, and why: `exact` in the shared partition, exact in the tenant's own `partition`, or `hnsw`.

    `fetch` rows are asked of the index, searched with `effort` (hnsw.ef_search). `reason` names no count: a caller who
    reads part of a tenant may see it.
    """

    method: DenseMethod
    reason: str
    fetch: int = 0
    effort: int = 0
    share: float = 1.0


def worth_estimating(rows: int, *, partitioned: bool) -> bool:
    """Whether the share in scope could change the plan."""
    return partitioned and rows > max(EXACT_ROWS, _LEAST_EFFORT * _ROWS_A_STEP)


def plan_dense(extent: Extent, *, limit: int) -> DensePlan:
    """The way to the `limit` nearest chunks that is exact or as good as exact, and takes the least time."""
    if not extent.partitioned:
        few = extent.rows <= EXACT_ROWS
        return DensePlan(method="exact", reason="few chunks" if few else "the tenant has no partition of its own")
    if extent.rows <= EXACT_ROWS:
        return DensePlan(method="partition", reason="few chunks in the searched collections")
    fetch = limit if extent.share >= 1 else math.ceil(_SURPLUS * limit / max(extent.share, 1e-6))
    effort = max(_LEAST_EFFORT, math.ceil(_EFFORT_A_ROW * fetch))
    if effort > _MOST_EFFORT:
        return DensePlan(method="partition", reason="groups and filter leave too little for the index")
    if effort * _ROWS_A_STEP > extent.rows:
        return DensePlan(method="partition", reason="searching the index as far as needed would take longer")
    reason = "many chunks, enough of them in scope"
    return DensePlan(method="hnsw", reason=reason, fetch=fetch, effort=effort, share=extent.share)


def after_index(plan: DensePlan, ranks: Sequence[int], *, limit: int) -> DensePlan:
    """The plan itself when what the index named can be relied on, else the exact one to follow it.

    `ranks` are those of the chunks in scope among all that it named, from 1. With fewer than `limit` there may be more.
    And when scope excludes what is nearest to the query, the first of the rest stand where an index is least sure.
    """
    if len(ranks) < limit:
        return DensePlan(method="partition", reason="the index came back short")
    head = min(_HEAD, limit)
    if plan.share < 1 and ranks[head - 1] * plan.share > _TOO_DEEP * _HEAD:
        return DensePlan(method="partition", reason="what is nearest is out of scope")
    return plan
