"""Ports of the domain: a clock, a generator of ids, and a signal that work is due."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for timestamps, monotonic time (seconds) for durations."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Identities(Protocol):
    """Generates public ids and callback tokens."""

    def new(self, prefix: str) -> str:
        """Return a fresh public id, such as `pay_…`."""
        ...

    def token(self) -> str:
        """Return an unguessable path segment for a callback address (256 bits)."""
        ...


class WorkSignal(Protocol):
    """Wakes idle workers early. Signals may be lost: workers also poll."""

    def notify(self) -> None: ...
    async def wait(self, timeout_s: float) -> None: ...
