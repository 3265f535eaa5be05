"""What a worker does beside the queue: it finishes erasures that were begun, and purges what is kept no longer."""

import asyncio
from typing import Final

from rag.errors import Unavailable
from rag.services import Services
from rag.store.erasure import open_erasures
from rag.telemetry import log

_LOOK_S: Final = 15.0


async def keep_house(services: Services) -> None:
    """Look again and again, for as long as the worker runs; several workers may."""
    while True:
        await asyncio.sleep(_LOOK_S)
        for duty in (finish_erasures, purge_due):
            try:
                await duty(services)
            except Exception as error:  # noqa: BLE001 - somebody must go on looking
                log.warning("housekeeping_failed", duty=duty.__name__, error=type(error).__name__)


async def finish_erasures(services: Services) -> int:
    """Go on with every erasure that is not finished, each for a while; gives back how many are left."""
    async with services.database.control() as connection:
        found = await open_erasures(connection)
    left = 0
    for erasure in found:
        try:
            after = await services.eraser.run(erasure, within_s=_LOOK_S)
        except Unavailable as error:
            log.warning("erasure_waits", erasure=str(erasure.erasure_id), reason=error.code)
            left += 1
        else:
            left += after.state == "running"
    return left


async def purge_due(services: Services) -> int:
    """Purge the tenants that it is time for; gives back how many."""
    return await services.purger.purge_due()
