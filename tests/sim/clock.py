"""The simulation's time and names: both come from the run and its seed alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """The clock of a host in a virtual loop. It is wrong by `skew_s`; the order store's is right."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew_s: float = 0.0) -> None:
        self._loop = loop
        self._skew_s = skew_s

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self._skew_s)

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

    def token(self) -> str:
        return f"{self._random.getrandbits(256):064x}"
