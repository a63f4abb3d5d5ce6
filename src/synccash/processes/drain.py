"""Draining: a process that was asked to stop serves on for a while, so that load balancers notice first."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Drain:
    """Whether this process drains. It lasts `seconds` from `begin`; until then the process serves as before.

    `/health/ready` answers 503 meanwhile, and each response closes its connection, so that clients and load
    balancers go to other processes before the port closes.
    """

    seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _ends_at: float | None = field(default=None, init=False)

    def begin(self) -> bool:
        """Begin to drain. Returns False when the process has to stop at once: a second request to stop, or
        a drain without any length."""
        if self.active or self.seconds <= 0:
            return False
        self._ends_at = self.clock() + self.seconds
        return True

    @property
    def active(self) -> bool:
        """True from `begin` on."""
        return self._ends_at is not None

    @property
    def over(self) -> bool:
        """True when the time of the drain has passed."""
        return self._ends_at is not None and self.clock() >= self._ends_at
