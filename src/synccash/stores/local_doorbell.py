"""A doorbell within one process, for a service without Valkey."""

import asyncio
import contextlib


class LocalDoorbell:
    """Live: wakes whoever waits in this process. Workers elsewhere find the work by polling."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now, or the next who comes."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Return after a ring, or after `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()
