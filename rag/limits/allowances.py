"""What each tenant may use: the installation's limits, and where the operator set others."""

import time
from collections import OrderedDict
from typing import Final

import msgspec

from rag.domain import Limits, TenantId
from rag.errors import CloisterError
from rag.settings import Settings
from rag.store.database import Database
from rag.store.limits import read_limits

_REMEMBERED: Final = 10_000
_TRUST_SECONDS: Final = 5.0  # a changed limit holds everywhere after this long at the latest


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a tenant: units a minute, and requests at a time in one process; 0 is no limit."""

    tenant_units: int
    key_units: int
    user_units: int
    concurrency: int


class Allowances:
    """The allowance of each tenant, read once in five seconds."""

    def __init__(self, database: Database, default: Allowance) -> None:
        self.default = default
        self._database = database
        self._known: OrderedDict[TenantId, tuple[float, Allowance]] = OrderedDict()

    async def of(self, tenant: TenantId) -> Allowance:
        """The tenant's allowance; the last known, or the default, while the database does not answer."""
        until, known = self._known.get(tenant, (0.0, self.default))
        now = time.monotonic()
        if now < until:
            return known
        # Whoever asks meanwhile gets the old one: a storm reads it once.
        self._remember(tenant, now + _TRUST_SECONDS, known)
        try:
            async with self._database.tenant(tenant) as connection:
                found = laid_over(self.default, await read_limits(connection, tenant))
        except CloisterError:
            return known
        self._remember(tenant, now + _TRUST_SECONDS, found)
        return found

    def _remember(self, tenant: TenantId, until: float, allowance: Allowance) -> None:
        self._known[tenant] = (until, allowance)
        self._known.move_to_end(tenant)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def default_allowance(settings: Settings) -> Allowance:
    """What the settings give a tenant that has no limits of its own."""
    concurrency = settings.tenant_concurrency
    return Allowance(
        tenant_units=settings.limit_tenant_units,
        key_units=settings.limit_key_units,
        user_units=settings.limit_user_units,
        concurrency=three_quarters(settings.pool_size) if concurrency is None else concurrency,
    )


def three_quarters(pool_size: int) -> int:
    """As many connections as one tenant may hold: always one of several is left to the others."""
    return max(1, pool_size - max(1, pool_size // 4))


def laid_over(default: Allowance, own: Limits) -> Allowance:
    """The default, with what the tenant's own limits name."""
    named = {name: value for name, value in msgspec.structs.asdict(own).items() if value is not None}
    return msgspec.structs.replace(default, **named)
