"""Who is asking: a tenant and a principal, made from a verified credential and from nothing else."""

from typing import Literal
from uuid import UUID

import msgspec

from rag.domain import TenantId

ALL_GROUPS = "*"  # a credential with this group reads every document of its tenant


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller inside one tenant; without groups it reads only what every reader may.

    `user` is the person a token was issued for, None for a bare key: limits, budgets and conversations go by it.
    `key_id` of a person's token stands for its issuer.

    What follows confines a publishable key and the tokens signed for it, and holds for every search: `origins` are the
    browser origins it may be used from, `collections` all that there are for it (None: every one), `filter` a jsonpath
    predicate that each document must meet, `max_hits` how far down a ranking it sees.
    """

    tenant: TenantId
    slug: str
    key_id: UUID
    kind: Literal["secret", "publishable", "token"]
    scopes: frozenset[str]
    groups: tuple[str, ...] = ()
    user: str | None = None
    origins: tuple[str, ...] = ()
    collections: tuple[str, ...] | None = None
    filter: str | None = None
    max_hits: int | None = None

    @property
    def reads_all_groups(self) -> bool:
        """Whether no document of the tenant is closed to this caller."""
        return ALL_GROUPS in self.groups


class Operator(msgspec.Struct, frozen=True):
    """A verified operator: manages tenants and keys, reads no tenant's documents."""

    key_id: UUID
