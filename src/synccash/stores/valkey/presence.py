"""Counts the processes that share a limit, so that each knows its share, also during a Valkey outage."""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from redis.asyncio import Redis

from synccash.stores.supervised_loops import LoopSupervisor, SupervisedLoop
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.limits.script import TAG

API_PROCESSES = f"{TAG}:fleet"
INQUIRERS = f"{TAG}:inquirers"
"""The key of the processes that share the rails' inquiry rates: the workers."""
_BEAT_S = 5.0
_LIVES_S = 15.0
# Registers this process by Valkey's clock, removes expired ones, and returns the number of live ones.
_BEAT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Fleet:
    """Live: one per process that shares a limit, between `start` and `close`; `members` is the key of the
    processes to count.

    Sends a heartbeat every few seconds, and counts the live processes. Does not close the client.
    """

    def __init__(
        self,
        client: Redis,
        instance: str,
        *,
        assumed: int,
        members: str = API_PROCESSES,
        clock: Callable[[], float] = time.monotonic,
        supervisor: LoopSupervisor | None = None,
    ) -> None:
        self._client = client
        self._instance = instance
        self._members = members
        self._clock = clock
        self._size = assumed
        self._samples = deque[tuple[float, int]]()
        self._supervisor = supervisor or LoopSupervisor()
        self._beating: SupervisedLoop | None = None

    def size(self) -> int:
        """Return the number of live processes at the last heartbeat, this one included; before that,
        `assumed`.

        It is the maximum of the last 15 s: a Valkey that lost its data has a full count within that time.
        """
        return self._size

    def start(self) -> None:
        """Start the heartbeat in the background. Valkey may be unreachable."""
        self._beating = self._supervisor.start("fleet", self._beat_on)

    async def close(self) -> None:
        """Stop the heartbeat and remove this process."""
        if self._beating is None:
            return
        await self._beating.end()
        with contextlib.suppress(*UNREACHABLE):
            await self._client.zrem(self._members, self._instance)

    async def beat(self) -> None:
        """Send one heartbeat. Raises one of client.UNREACHABLE."""
        lives_ms = round(_LIVES_S * 1_000)
        count = await self._client.eval(_BEAT, 1, self._members, self._instance, lives_ms)
        now = self._clock()
        self._samples.append((now, int(count)))
        # Prune only on a new sample, so the last size survives an outage of Valkey.
        while self._samples[0][0] <= now - _LIVES_S:
            self._samples.popleft()
        self._size = max(size for _, size in self._samples)

    async def _beat_on(self) -> None:
        while True:
            with contextlib.suppress(*UNREACHABLE):
                await self.beat()
            await asyncio.sleep(_BEAT_S)
