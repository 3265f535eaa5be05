"""What stands in the audit trail: who did what to which thing, in the words of OCSF 1.3, and nothing of its content."""

from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from rag.domain import TenantId
from rag.tenancy import Operator, Principal

OCSF: Final = "1.3.0"
CONTROL: Final = TenantId(UUID(int=0))  # the chain of what belongs to no tenant
_INFORMATIONAL, _MEDIUM, _CRITICAL = 1, 3, 5

Detail = str | int | bool | list[str] | None  # no float: its digits would not be the same everywhere
Outcome = Literal["success", "failure"]


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, and from where; `user` is the person of a token, or the account of the operating system."""

    type: Literal["key", "operator", "local", "system"]
    key_id: UUID | None = None
    user: str | None = None
    ip: str | None = None
    request_id: str | None = None

    @property
    def identity(self) -> str:
        """What makes this actor another than the next: the key and the person behind it, not the request."""
        return ":".join([self.type, *(str(part) for part in (self.key_id, self.user) if part)])


SYSTEM: Final = Actor(type="system")


def actor_of(who: Principal | Operator | None, *, ip: str | None = None, request_id: str | None = None) -> Actor:
    """The verified caller of a request as an actor; None is the system itself."""
    if who is None:
        return Actor(type="system", ip=ip, request_id=request_id)
    kind: Literal["operator", "key"] = "operator" if isinstance(who, Operator) else "key"
    user = who.user if isinstance(who, Principal) else None
    return Actor(type=kind, key_id=who.key_id, user=user, ip=ip, request_id=request_id)


class Act(Enum):
    """Everything that is recorded: its name, the OCSF class and activity, and how grave it is."""

    KEY_CREATE = ("key.create", 3001, 1, _INFORMATIONAL)
    KEY_ROTATE = ("key.rotate", 3001, 3, _INFORMATIONAL)
    KEY_REVOKE = ("key.revoke", 3001, 5, _INFORMATIONAL)
    TENANT_CREATE = ("tenant.create", 3004, 1, _INFORMATIONAL)
    TENANT_UPDATE = ("tenant.update", 3004, 3, _INFORMATIONAL)
    TENANT_DELETE = ("tenant.delete", 3004, 4, _MEDIUM)
    ERASURE_BEGIN = ("erasure.begin", 3004, 4, _MEDIUM)
    ERASURE_FINISH = ("erasure.finish", 3004, 4, _INFORMATIONAL)
    TENANT_READ = ("tenant.read", 6005, 4, _INFORMATIONAL)
    COLLECTION_CREATE = ("collection.create", 3004, 1, _INFORMATIONAL)
    COLLECTION_UPDATE = ("collection.update", 3004, 3, _INFORMATIONAL)
    COLLECTION_DELETE = ("collection.delete", 3004, 4, _MEDIUM)
    DOCUMENT_WRITE = ("document.write", 6005, 5, _INFORMATIONAL)
    DOCUMENT_DELETE = ("document.delete", 6005, 7, _INFORMATIONAL)
    DOCUMENT_OPEN = ("document.open", 3006, 1, _INFORMATIONAL)
    DOCUMENT_CLOSE = ("document.close", 3006, 2, _INFORMATIONAL)
    JOB_RETRY = ("job.retry", 6003, 3, _INFORMATIONAL)
    JOB_CANCEL = ("job.cancel", 6003, 3, _INFORMATIONAL)
    SPACE_ACTIVATE = ("space.activate", 3004, 3, _MEDIUM)
    APPROVAL_REQUEST = ("approval.request", 3004, 1, _INFORMATIONAL)
    APPROVAL_GRANT = ("approval.grant", 3004, 3, _MEDIUM)
    APPROVAL_DENY = ("approval.deny", 3004, 3, _INFORMATIONAL)
    APPROVAL_USE = ("approval.use", 3004, 3, _MEDIUM)
    SERVICE_START = ("service.start", 6002, 3, _INFORMATIONAL)
    ACCESS_UNAUTHENTICATED = ("access.unauthenticated", 3002, 1, _MEDIUM)
    ACCESS_FORBIDDEN = ("access.forbidden", 6003, 99, _MEDIUM)
    ISOLATION_ALARM = ("isolation.alarm", 2004, 1, _CRITICAL)

    def __init__(self, label: str, class_uid: int, activity_id: int, severity_id: int) -> None:
        self.label = label
        self.class_uid = class_uid
        self.activity_id = activity_id
        self.severity_id = severity_id


class Resource(msgspec.Struct, frozen=True):
    """What was acted on: its kind, its id, and a name where that is configuration rather than content."""

    type: str
    uid: str
    name: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One act; `by` None is whoever the connection acts for.

    `detail` holds names of settings, numbers and ids: never text of a document or a query, never a secret.
    """

    act: Act
    resource: Resource | None = None
    by: Actor | None = None
    outcome: Outcome = "success"
    detail: dict[str, Detail] = {}


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it stands in its chain; `event` is the JSON text, to the byte, that the hash covers."""

    sequence: int
    occurred_at: datetime
    previous_hash: bytes
    hash: bytes
    event: str


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is shown: `hash` is the SHA-256 of the bytes of `previous_hash` and those of `event`."""

    chain: str
    tenant: str | None
    sequence: int
    previous_hash: str
    hash: str
    event: msgspec.Raw


def chain_name(chain: TenantId) -> str:
    """The tenant's id, or `control`."""
    return "control" if chain == CONTROL else str(chain)


def audit_line(chain: TenantId, slug: str | None, recorded: Recorded) -> AuditLine:
    """An event with its place; the JSON of the event stands in it to the byte, as it was hashed."""
    return AuditLine(
        chain=chain_name(chain),
        tenant=slug,
        sequence=recorded.sequence,
        previous_hash=recorded.previous_hash.hex(),
        hash=recorded.hash.hex(),
        event=msgspec.Raw(recorded.event.encode()),
    )


def to_ocsf(event: Event, by: Actor) -> dict[str, Any]:
    """The event as an OCSF object; its time and its place in the chain are added where it is appended."""
    act = event.act
    found: dict[str, Any] = {
        "category_uid": act.class_uid // 1000,
        "class_uid": act.class_uid,
        "activity_id": act.activity_id,
        "activity_name": act.label,
        "type_uid": act.class_uid * 100 + act.activity_id,
        "severity_id": act.severity_id,
        "status_id": 1 if event.outcome == "success" else 2,
        "metadata": {"version": OCSF, "product": {"name": "Cloister"}, "event_code": act.label},
        "actor": {"user": _user(by)},
    }
    if by.request_id:
        found["metadata"]["correlation_uid"] = by.request_id
    if by.ip:
        found["src_endpoint"] = {"ip": by.ip}
    if event.resource:
        named = {"name": event.resource.name} if event.resource.name is not None else {}
        found["resources"] = [{"type": event.resource.type, "uid": event.resource.uid, **named}]
    if event.detail:
        found["unmapped"] = event.detail
    return found


def _user(by: Actor) -> dict[str, Any]:
    user: dict[str, Any] = {"type": by.type, "type_id": _USER_TYPES[by.type]}
    if by.key_id:
        user["credential_uid"] = str(by.key_id)
    if by.user:
        user["name"] = by.user
    return user


_USER_TYPES: Final = {"key": 1, "operator": 2, "local": 2, "system": 3}
