"""The dense leg: estimate what is in scope, plan, search, and search exactly where the index cannot be relied on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rag.domain import ChunkId
from rag.retrieval.planning import DensePlan, Extent, after_index, plan_dense, worth_estimating
from rag.store.database import TenantConnection
from rag.store.search import SearchScope, dense_leg, nearest_leg, share_in_scope
from rag.telemetry import DENSE_PLANS

_SAMPLE: Final = 400  # documents: a share of a fifth is then known to within .04, in half a millisecond

Vector = NDArray[np.float32]


async def dense_candidates(
    connection: TenantConnection, scope: SearchScope, vector: Vector, *, limit: int
) -> tuple[list[tuple[ChunkId, float]], DensePlan]:
    """The chunks in scope nearest to a query vector (dim,), best cosine first, and the plan they were found by.

    Fewer than `limit` come back only when there are no more in scope.
    """
    plan = plan_dense(await _measure(connection, scope), limit=limit)
    if plan.method == "hnsw":
        near = await nearest_leg(connection, scope, vector, fetch=plan.fetch, effort=plan.effort, limit=limit)
        plan = after_index(plan, [found.overall for found in near], limit=limit)
        if plan.method == "hnsw":
            DENSE_PLANS.labels("hnsw").inc()
            return [(found.chunk_id, found.score) for found in near], plan
        DENSE_PLANS.labels("hnsw_in_vain").inc()
    DENSE_PLANS.labels(plan.method).inc()
    return await dense_leg(connection, scope, vector, limit=limit), plan


async def _measure(connection: TenantConnection, scope: SearchScope) -> Extent:
    share = scope.chunks / max(1, scope.tenant_chunks)
    narrowed = scope.restricted or scope.filter is not None
    if narrowed and worth_estimating(scope.chunks, partitioned=scope.partitioned):
        share = await share_in_scope(connection, scope, sample=_SAMPLE)
    return Extent(rows=scope.chunks, partitioned=scope.partitioned, share=share)
