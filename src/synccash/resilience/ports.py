"""What sharing breakers between processes needs. The toolkit decides locally; whoever implements this carries
news in the background, and may lose it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from synccash.resilience.breaker_statistics import Statistics, Transition


class SharedBreaker(Protocol):
    """A breaker as seen by those who carry news. CircuitBreaker is one."""

    @property
    def version(self) -> int:
        """What people did to it so far, counted; the highest in the cluster wins."""
        ...

    def adopt(self, open_s: float, reason: str, *, rounds: int = ...) -> None:
        """A peer is open for another `open_s` seconds, for the `rounds`-th time: be so too."""
        ...

    def recover(self, reason: str) -> None:
        """A peer's probe succeeded."""
        ...

    def guard(self, gate: Callable[[], bool] | None) -> None:
        """Ask `gate()` before each probe. It does no I/O: an answer that is late delays a probe, no more."""
        ...

    def hint(self, open_s: float) -> None:
        """A peer is open: need half of the failures for as long."""
        ...

    def reset(self, reason: str = ..., *, version: int | None = None) -> None:
        """A person closed it elsewhere, as their action number `version`."""
        ...

    def force_open(self, reason: str, *, version: int | None = None) -> None:
        """A person opened it elsewhere."""
        ...

    def statistics(self) -> Statistics:
        """What to publish."""
        ...


class TransitionListener(Protocol):
    """Hears of each change; those `by` a peer are not to be published again."""

    def __call__(self, transition: Transition, /) -> None:
        """Take note and return at once."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Another live process: its breakers' last reports by name, and seconds since it was last heard of."""

    instance: str
    age_s: float
    reports: Mapping[str, Mapping[str, Any]]


class Cluster(Protocol):
    """The processes that share breakers, from the point of view of one of them."""

    @property
    def live(self) -> int:
        """How many processes were alive at the last look, this one among them."""
        ...

    def acted(self, name: str) -> None:
        """A person has just reset or forced open the breaker of this process: carry it to all."""
        ...

    async def peers(self) -> Sequence[Peer]:
        """The other live processes. Empty while they cannot be reached."""
        ...
