"""How many processes share a limit, so that each knows its part, also while Valkey is away."""

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
"""Who shares the rates that rails allow for inquiries: the workers."""
_BEAT_S = 5.0
_LIVES_S = 15.0
# By Valkey's clock: who is there, without those who have not been heard of.
_BEAT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Fleet:
    """Live: one per process that shares a limit, between `start` and `close`; `members` is whom it counts.

    Says every few seconds that it is there, and counts who else is. The client stays open.
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
        self._heard = deque[tuple[float, int]]()
        self._supervisor = supervisor or LoopSupervisor()
        self._beating: SupervisedLoop | None = None

    def size(self) -> int:
        """How many there were when Valkey was last heard, this one among them; before that, `assumed`.

        The most of the last 15 s: a Valkey that has lost its memory hears of all within that time.
        """
        return self._size

    def start(self) -> None:
        """Begin, in the background. Valkey may be away."""
        self._beating = self._supervisor.start("fleet", self._beat_on)

    async def close(self) -> None:
        """Say that this process leaves."""
        if self._beating is None:
            return
        await self._beating.end()
        with contextlib.suppress(*UNREACHABLE):
            await self._client.zrem(self._members, self._instance)

    async def beat(self) -> None:
        """Say once that this process is there. Raises one of client.UNREACHABLE."""
        lives_ms = round(_LIVES_S * 1_000)
        count = await self._client.eval(_BEAT, 1, self._members, self._instance, lives_ms)
        now = self._clock()
        self._heard.append((now, int(count)))
        # Only news forget news: while Valkey is away, what was heard last stands.
        while self._heard[0][0] <= now - _LIVES_S:
            self._heard.popleft()
        self._size = max(heard for _, heard in self._heard)

    async def _beat_on(self) -> None:
        while True:
            with contextlib.suppress(*UNREACHABLE):
                await self.beat()
            await asyncio.sleep(_BEAT_S)
