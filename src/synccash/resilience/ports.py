"""Protocols for sharing circuit breakers between processes.

Each breaker decides locally. An implementation of these protocols sends transitions to other processes in the
background; a lost message delays them but never blocks a call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from synccash.resilience.breaker_statistics import Statistics, Transition


class SharedBreaker(Protocol):
    """The methods of a breaker that accept state from other processes. CircuitBreaker implements it."""

    @property
    def version(self) -> int:
        """Number of the last operator action on this breaker; the highest one in the cluster wins."""
        ...

    def adopt(self, open_s: float, reason: str, *, rounds: int = ...) -> None:
        """Open for `open_s` seconds because a peer is open. `rounds`: how often it opened in a row there."""
        ...

    def recover(self, reason: str) -> None:
        """Close because a peer's probe succeeded."""
        ...

    def guard(self, gate: Callable[[], bool] | None) -> None:
        """Set a function that allows or denies each probe. It must return at once, without I/O."""
        ...

    def hint(self, open_s: float) -> None:
        """Open after half of the failures for the next `open_s` seconds, because a peer is open."""
        ...

    def reset(self, reason: str = ..., *, version: int | None = None) -> None:
        """Close it. `version`: number of the operator action in another process; None: it happens here."""
        ...

    def force_open(self, reason: str, *, version: int | None = None) -> None:
        """Force it open. `version`: see `reset`."""
        ...

    def statistics(self) -> Statistics:
        """Return the snapshot to publish."""
        ...


class TransitionListener(Protocol):
    """Receives each change of state. Changes `by` "peer" must not be published again."""

    def __call__(self, transition: Transition, /) -> None:
        """Handle the transition and return at once."""
        ...


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
