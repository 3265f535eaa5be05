"""Query vectors, kept for a while: the next page of a search and the answer to it do not embed the query again."""

import time
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rag.domain import TenantId
from rag.embedding.base import Embedder

_KEPT: Final = 2_000
_KEPT_S: Final = 600.0  # the text of a question stays in memory no longer, once another is asked

Vector = NDArray[np.float32]


class QueryVectors:
    """The query vectors of each tenant from the last ten minutes, in memory; none is shared between tenants."""

    def __init__(self, encoder: Embedder) -> None:
        self.encoder = encoder
        self._kept: OrderedDict[tuple[TenantId, str], tuple[float, Vector]] = OrderedDict()

    async def of(self, tenant: TenantId, text: str) -> Vector:
        """The vector (dim,) of a tenant's query, L2-normalised."""
        key = (tenant, text)
        self._drop_old()
        _, vector = self._kept.pop(key, (0.0, None))
        if vector is None:
            vector = await self.encoder.embed_query(text)
        self._kept[key] = (time.monotonic(), vector)
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return vector

    def _drop_old(self) -> None:
        oldest_allowed = time.monotonic() - _KEPT_S
        while self._kept and next(iter(self._kept.values()))[0] < oldest_allowed:
            self._kept.popitem(last=False)
