"""The protocols of the processes that share circuit breakers and rates.

Each breaker decides locally. An implementation of the protocol sends transitions to other processes in the
background; a lost message delays them but never blocks a call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """Another live process. `age_s`: seconds since its last report. `reports`: its breakers by name."""

    instance: str
    age_s: float
    reports: Mapping[str, Mapping[str, Any]]


class Cluster(Protocol):
    """The processes that share breakers, as one of them sees them."""

    @property
    def live(self) -> int:
        """Number of live processes at the last check, including this one."""
        ...

    def acted(self, name: str) -> None:
        """Send an operator's reset or force-open of the breaker `name` in this process to all others."""
        ...

    async def peers(self) -> Sequence[Peer]:
        """Return the other live processes; empty while they cannot be reached."""
        ...


class SharedRate(Protocol):
    """The turns of rates, counted by several processes together."""

    async def take(self, name: str, interval_s: float, burst: int) -> float | None:
        """Take a turn of the rate `name` and return 0, or return the seconds until the next one.

        None: the store is away. Never raises, except for cancellation; a turn may then have been used.
        """
        ...
