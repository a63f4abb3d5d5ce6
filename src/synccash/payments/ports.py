"""What the domain asks of its surroundings: the time, new identities, and a signal that work is due."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is shown, monotonic time for what is measured. Seconds."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Identities(Protocol):
    """Where names come from."""

    def new(self, prefix: str) -> str:
        """Return a fresh public id, such as `pay_…`."""
        ...

    def token(self) -> str:
        """Return an unguessable path segment for a callback address (256 bits)."""
        ...


class WorkSignal(Protocol):
    """Wakes idle workers early. It may lose every ring: the poll behind it decides."""

    def ring(self) -> None: ...
    async def wait(self, timeout_s: float) -> None: ...
