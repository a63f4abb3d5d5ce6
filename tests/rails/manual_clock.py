"""A clock that only the test moves; sleepers wake as it passes them."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta


class ManualClock:
    def __init__(self):
        self.time = 1_000.0
        self.slept = []
        self.asleep = asyncio.Event()
        self._sleepers = []

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.slept.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, len(self.slept), woken))
        self.asleep.set()
        await woken

    def advance(self, seconds):
        self.time += seconds
        while self._sleepers and self._sleepers[0][0] <= self.time:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
