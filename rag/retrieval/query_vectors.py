"""Query vectors, kept for a while: the next page of a search and the answer to it do not embed the query again."""

from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rag.domain import TenantId
from rag.embedding.base import Embedder

_KEPT: Final = 2_000

Vector = NDArray[np.float32]


class QueryVectors:
    """The most recent query vectors of each tenant, in memory; no vector is shared between tenants."""

    def __init__(self, encoder: Embedder) -> None:
        self.encoder = encoder
        self._kept: OrderedDict[tuple[TenantId, str], Vector] = OrderedDict()

    async def of(self, tenant: TenantId, text: str) -> Vector:
        """The vector (dim,) of a tenant's query, L2-normalised."""
        key = (tenant, text)
        vector = self._kept.get(key)
        if vector is None:
            vector = await self.encoder.embed_query(text)
            self._kept[key] = vector
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return vector
