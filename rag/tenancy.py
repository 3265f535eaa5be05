"""Who is asking: a tenant and a principal, made from a verified credential and from nothing else."""

from typing import Literal
from uuid import UUID

import msgspec

from rag.domain import TenantId

ALL_GROUPS = "*"  # a credential with this group reads every document of its tenant


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller inside one tenant; without groups it reads only what every reader may.

    `user` is the person a token was issued for, None for a bare key: limits, budgets and conversations go by it.
    """

    tenant: TenantId
    slug: str
    key_id: UUID
    kind: Literal["secret", "publishable"]
    scopes: frozenset[str]
    groups: tuple[str, ...] = ()
    user: str | None = None

    @property
    def reads_all_groups(self) -> bool:
        """Whether no document of the tenant is closed to this caller."""
        return ALL_GROUPS in self.groups


class Operator(msgspec.Struct, frozen=True):
    """A verified operator: manages tenants and keys, reads no tenant's documents."""

    key_id: UUID
