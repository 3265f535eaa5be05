"""Who calls: a credential, and what it may see."""

from typing import Literal

import msgspec

from eval.isolation.canaries import Canary
from rag.domain import Scope
from rag.tenancy import ALL_GROUPS

_RECORDS = frozenset({Scope.INGEST, Scope.MANAGE})  # whoever writes documents sees their records, whatever their groups

_RECORD = frozenset({"record", "handle"})

KindOfKey = Literal["secret", "publishable", "operator", "void"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A caller of the service.

    A `void` one holds no key that is valid, whatever `key` says; a `blind` one's lets no document through. The headers
    go with each request.
    """

    name: str
    key: str | None
    kind: KindOfKey
    tenant: str | None = None
    scopes: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    blind: bool = False
    headers: dict[str, str] = {}

    def may_see(self, canary: Canary) -> bool:
        """Whether this word may stand in what the caller is sent."""
        if canary.gone or self.blind:
            return False
        if self.kind == "operator":
            return canary.kind in {"handle", "name", "key"}
        if self.tenant != canary.tenant:
            return False
        if canary.kind == "key":
            return Scope.MANAGE in self.scopes
        return canary.kind == "name" or self.opens(canary.groups) or (canary.kind in _RECORD and self.keeps_records)

    def opens(self, groups: frozenset[str]) -> bool:
        """Whether a document of these groups, of the caller's own tenant, is open to the caller."""
        return not groups or ALL_GROUPS in self.groups or bool(groups & self.groups)

    def holds(self, groups: frozenset[str]) -> bool:
        """Whether the caller is shown at least the record of a document of these groups, of its own tenant."""
        return not self.blind and (self.opens(groups) or self.keeps_records)

    @property
    def keeps_records(self) -> bool:
        """Whether the caller sees the records of all documents, though not their passages."""
        return bool(self.scopes & _RECORDS)
