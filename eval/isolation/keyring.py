"""The keys of the estate: of every kind that opens something, and of every kind that must not."""

import base64
import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from eval.isolation.callers import Caller
from eval.isolation.canaries import Canary, new_word
from eval.isolation.estate import ALPHA, BETA, Estate, Tenant
from eval.isolation.service import Ask
from rag.domain import Scope
from rag.keys import generate_key
from rag.store import keys as key_store
from rag.tenancy import ALL_GROUPS

MARK: Final = "cloister verify-isolation"  # the name of what is made here
_LIFE: Final = timedelta(hours=1)
_READER: Final = (Scope.SEARCH, Scope.ANSWER)


class Cut(msgspec.Struct, frozen=True):
    """A key to make."""

    scopes: Sequence[Scope]
    groups: Sequence[str] = ()
    kind: Literal["secret", "publishable"] = "secret"


_CUTS: Final[dict[str, Cut]] = {
    "owner": Cut(tuple(Scope), [ALL_GROUPS]),
    "red": Cut(_READER, ["red"]),
    "blue": Cut(_READER, ["blue"]),
    "nobody": Cut(_READER),
    "searcher": Cut([Scope.SEARCH]),
    "writer": Cut([Scope.INGEST, Scope.MANAGE]),
    "publishable": Cut([Scope.SEARCH], kind="publishable"),
}
_OF_BETA: Final = ("owner", "red", "publishable")


async def give_keys(estate: Estate, tenant: Tenant) -> None:
    """A tenant's valid keys, and widget tokens for its publishable one."""
    for name, cut in _CUTS.items():
        if tenant.name == ALPHA or name in _OF_BETA:
            key, key_id = await _make(estate, tenant, cut)
            whole = f"{tenant.name} {name}"
            estate.key_ids[whole] = key_id
            estate.callers[whole] = Caller(
                name=whole,
                key=key,
                kind=cut.kind,
                tenant=tenant.name,
                scopes=frozenset(cut.scopes),
                groups=frozenset(cut.groups),
            )
            word = Canary(word=str(key_id), what=f"key {name} of {tenant.name}", kind="key", tenant=tenant.name)
            estate.canaries.plant([word])
    async with estate.services.database.tenant(tenant.tenant_id) as connection:
        key_id = estate.key_ids[f"{tenant.name} publishable"]
        secret = await key_store.create_signing_secret(connection, tenant.tenant_id, key_id)
    estate.signing_secrets[tenant.name] = secret


async def give_void(estate: Estate) -> None:
    """What opens nothing, an operator's key, and widget tokens that open less than their key."""
    past = datetime.now(UTC) - timedelta(minutes=1)
    alpha, owner = estate.tenants[ALPHA], _CUTS["owner"]
    expired, _ = await _make(estate, alpha, owner, expires_at=past)
    void = {"expired": expired, "revoked": await _revoked(estate), "nonsense": generate_key("secret"), "no key": None}
    key_id, now = estate.key_ids["alpha publishable"], time.time()
    own, other = estate.signing_secrets[ALPHA], estate.signing_secrets[BETA]
    void["expired token"] = minted(key_id, own, iat=now - 7200, exp=now - 3600)
    void["unsigned token"] = minted(key_id, None)
    void["token signed by beta"] = minted(key_id, other)
    for name, key in void.items():
        estate.callers[name] = Caller(name=name, key=key, kind="void")
    page = {"Origin": "null"}
    nowhere = minted(key_id, own, origins=None)
    estate.callers["token in a page of origin null"] = Caller(
        name="token in a page of origin null", key=nowhere, kind="void", headers=page
    )
    narrow: dict[str, dict[str, Any]] = {"filtered": {"filter": {"shelf": new_word()}}, "confined": {"collections": []}}
    for name, claims in narrow.items():
        token = minted(key_id, own, **claims)
        whole = f"alpha widget, {name}"
        estate.callers[whole] = Caller(
            name=whole, key=token, kind="publishable", tenant=ALPHA, scopes=frozenset({"search"}), blind=True
        )
    async with estate.services.database.control() as control:
        operator, _ = await key_store.create_operator_key(control, name=MARK, expires_at=datetime.now(UTC) + _LIFE)
    estate.callers["operator"] = Caller(name="operator", key=operator, kind="operator")


def minted(key_id: UUID, secret: str | None, **claims: Any) -> str:
    """A widget token as a customer's back end mints it (docs/keys.md); without a secret it is not signed at all."""
    now = time.time()
    header = {"alg": "HS256" if secret else "none", "typ": "JWT", "kid": str(key_id)}
    parts = (header, {"iat": now, "exp": now + _LIFE.total_seconds(), **claims})
    text = b".".join(_encoded(msgspec.json.encode(part)) for part in parts)
    signature = hmac.digest(secret.encode(), text, "sha256") if secret else b""
    return (text + b"." + _encoded(signature)).decode()


async def _revoked(estate: Estate) -> str:
    """A key that was used before it was revoked, so that the service has it in memory."""
    alpha = estate.tenants[ALPHA]
    key, key_id = await _make(estate, alpha, _CUTS["owner"])
    await estate.service.send(Ask(method="GET", path="/v1/collections"), key)
    async with estate.services.database.tenant(alpha.tenant_id) as connection:
        await key_store.revoke_key(connection, alpha.tenant_id, key_id)
    estate.revoked_at = datetime.now(UTC)
    return key


async def _make(estate: Estate, tenant: Tenant, cut: Cut, *, expires_at: datetime | None = None) -> tuple[str, UUID]:
    async with estate.services.database.tenant(tenant.tenant_id) as connection:
        return await key_store.create_key(
            connection,
            tenant.tenant_id,
            kind=cut.kind,
            scopes=cut.scopes,
            groups=cut.groups,
            name=MARK,
            expires_at=expires_at,
        )


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
