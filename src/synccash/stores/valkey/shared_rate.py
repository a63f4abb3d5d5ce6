"""A rate that several processes keep together, counted in Valkey (or Redis >= 7).

>>> gate = RateGate("rates", Rate("10/s"), shared=ValkeyRate(build_client("redis://localhost/0")))
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

from redis.asyncio import Redis

from synccash.resilience.errors import ResilienceError
from synccash.resilience.policy import Policy
from synccash.resilience.profiles import VALKEY
from synccash.stores.valkey.client import UNREACHABLE

KEY = "sc:rate:"
# As RateGate counts: the key holds the time, in microseconds, at which the whole burst is free again.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0)
local wait = full_at - (burst - 1) * interval - now
if wait > 0 then return wait end
full_at = math.max(full_at, now) + interval
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1000)
return 0
"""


class ValkeyRate:
    """Takes turns in Valkey. Does not raise while Valkey is away. One per process."""

    def __init__(self, client: Redis) -> None:
        self._take = client.register_script(_TAKE)
        self._policy = Policy("valkey:rates", breaker=VALKEY.breaker, attempt_timeout=VALKEY.attempt_timeout)

    async def take(self, name: str, interval_s: float, burst: int) -> float | None:
        """Take a turn of the rate `name` and return 0, or return the seconds until the next one.

        None: Valkey is away. A turn may have been used then, and when the caller is cancelled.
        """
        interval_us = max(1, round(interval_s * 1_000_000))
        try:
            wait_us = await self._policy.call(self._take, keys=[KEY + name], args=[interval_us, burst])
        except (ResilienceError, *UNREACHABLE):
            return None
        return int(wait_us) / 1_000_000
