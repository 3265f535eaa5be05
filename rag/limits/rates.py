"""Units a minute: each request costs some, and tenant, key and user have so many."""

import hashlib
from typing import Final, NamedTuple

from rag.cache.buckets import Buckets, Draw, Level
from rag.limits.allowances import Allowances
from rag.telemetry import LIMITED
from rag.tenancy import Operator, Principal

_WINDOW_S: Final = 60
UNKNOWN_IDS: Final = "unknown ids"


class Standing(NamedTuple):
    """How a caller stands in one policy after a request."""

    policy: str
    quota: int
    level: Level


class Verdict(NamedTuple):
    """What the policies say of a request; `refusal` is the one that it must wait for longest."""

    standings: list[Standing]
    refusal: Standing | None


class Rates:
    """Draws what a request costs from the buckets of all who pay for it, or from none of them."""

    def __init__(self, buckets: Buckets, allowances: Allowances, *, unknown_ids: int) -> None:
        self._buckets = buckets
        self._allowances = allowances
        self._unknown_ids = unknown_ids

    async def spend(self, who: Principal | Operator, cost: int, *, names_an_id: bool) -> Verdict:
        """Charge a request; one that names an id is refused too when its caller named too many that there are not."""
        policies = await self._policies(who, cost)
        if names_an_id and self._unknown_ids:
            policies[UNKNOWN_IDS] = self._unknown(who, look=True)
        if not policies:
            return Verdict([], None)
        levels = await self._buckets.take(list(policies.values()))
        standings = [
            Standing(name, draw.quota, level) for (name, draw), level in zip(policies.items(), levels, strict=True)
        ]
        refused = [standing for standing in standings if not standing.level.allowed]
        for standing in refused:
            LIMITED.labels(standing.policy.replace(" ", "_")).inc()
        worst = max(refused, key=lambda standing: standing.level.retry_after_s, default=None)
        return Verdict([standing for standing in standings if standing.policy != UNKNOWN_IDS], worst)

    async def note_unknown_id(self, who: Principal | Operator) -> None:
        """Count an id that there is not against the key, and the user, that named it."""
        if self._unknown_ids:
            await self._buckets.take([self._unknown(who, look=False)])

    async def _policies(self, who: Principal | Operator, cost: int) -> dict[str, Draw]:
        if isinstance(who, Operator):
            quotas = {"key": (f"{who.key_id}", self._allowances.default.key_units)}
            return _draws(f"{who.key_id}", quotas, cost)
        allowance = await self._allowances.of(who.tenant)
        quotas = {
            "tenant": ("", allowance.tenant_units),
            "key": (f"{who.key_id}", allowance.key_units),
        }
        if who.user is not None:
            quotas["user"] = (_digest(who.user), allowance.user_units)
        return _draws(f"{who.tenant}", quotas, cost)

    def _unknown(self, who: Principal | Operator, *, look: bool) -> Draw:
        owner, user = (who.tenant, who.user or "") if isinstance(who, Principal) else (who.key_id, "")
        return Draw(
            bucket=_bucket(f"{owner}", "unknown", f"{who.key_id}:{_digest(user)}"),
            quota=self._unknown_ids,
            window_s=_WINDOW_S,
            look=look,
        )


def _draws(owner: str, quotas: dict[str, tuple[str, int]], cost: int) -> dict[str, Draw]:
    return {
        policy: Draw(bucket=_bucket(owner, policy, name), quota=quota, cost=cost, window_s=_WINDOW_S)
        for policy, (name, quota) in quotas.items()
        if quota
    }


def _digest(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()


def _bucket(owner: str, policy: str, name: str) -> str:
    # The braces keep all buckets of a request on one node of a cluster.
    return f"limit:{{{owner}}}:{policy}:{name}"
