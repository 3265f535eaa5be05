"""Buckets in Valkey, shared by every process: one command for all the buckets of a request."""

from collections.abc import Sequence
from typing import Final

from rag.cache.buckets import Draw, Level
from rag.cache.redis import RedisCache

# One number a bucket: the microsecond at which it is full again. ARGV has four for each: microseconds a unit takes to
# come back, the quota, the units to take, and 1 if they are taken. A refusal by one writes none.
_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local full_at, after, wait, refused = {}, {}, {}, false
for i, key in ipairs(KEYS) do
    local emission, quota, units = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-2]), tonumber(ARGV[4*i-1])
    full_at[i] = math.max(tonumber(redis.call('GET', key) or now), now)
    after[i] = math.max(full_at[i] + emission * units, now)
    wait[i] = math.max(0, after[i] - emission * quota - now)
    refused = refused or wait[i] >= 1
end
local levels = {}
for i, key in ipairs(KEYS) do
    local emission, quota = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-2])
    if not refused and ARGV[4*i] == '1' then
        full_at[i] = after[i]
        redis.call('SET', key, string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1)
    end
    local left = math.max(0, math.floor((emission * quota - (full_at[i] - now) + 1) / emission))
    levels[i] = string.format('%.0f %.0f %.0f %.0f', wait[i] < 1 and 1 or 0, left, wait[i], full_at[i] - now)
end
return table.concat(levels, ' ')
"""


class RedisBuckets:
    """Buckets that all processes of an installation draw from."""

    def __init__(self, cache: RedisCache) -> None:
        self._cache = cache

    async def take(self, draws: Sequence[Draw]) -> list[Level]:
        """The level of each bucket, in order; raises `CacheUnavailable`."""
        arguments = [number for draw in draws for number in _numbers(draw)]
        answer = await self._cache.evaluate(_TAKE, [draw.bucket for draw in draws], arguments)
        numbers = [int(number) for number in answer.split()]  # one string: of a list each number is read by itself
        return [
            Level(bool(allowed), remaining, wait / 1e6, full / 1e6)
            for allowed, remaining, wait, full in zip(*(numbers[i::4] for i in range(4)), strict=True)
        ]


def _numbers(draw: Draw) -> tuple[str, int, int, int]:
    # Plain integers: redis writes a member of an enumeration as its repr.
    return repr(draw.window_s * 1e6 / draw.quota), int(draw.quota), int(draw.units), 0 if draw.look else 1
