"""The simulation's time and names: both come from the run and its seed alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """The clock of a virtual loop. One for all nodes: skew is a matter of the real servers' tests."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededIdentities:
    """Names in the order in which they were asked for."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count}"

    def reference(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def token(self) -> str:
        return f"{self._random.getrandbits(256):064x}"
