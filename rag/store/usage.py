"""What a tenant's answers came to: how many, for whom, and what the model was paid."""

from rag.domain import DayOfUse, TenantId
from rag.store.database import TenantConnection
from rag.store.statements import statement


async def read_usage(connection: TenantConnection, tenant: TenantId, *, days: int, limit: int) -> list[DayOfUse]:
    """Each day's answers of each person, newest first, over the last `days` days in UTC, at most `limit` lines.

    Counted from the answers that are kept: what was purged or erased is not in it.
    """
    values = {"tenant": tenant, "days": days, "limit": limit}
    rows = await (await connection.execute(statement("usage.daily"), values)).fetchall()
    return [DayOfUse(**row) for row in rows]
