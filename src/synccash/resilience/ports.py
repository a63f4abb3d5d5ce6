"""What sharing breakers between processes needs. The toolkit decides locally; whoever implements this carries
news in the background, and may lose it."""

from typing import Protocol

from synccash.resilience.breaker_statistics import Statistics, Transition


class SharedBreaker(Protocol):
    """A breaker as seen by those who carry news. CircuitBreaker is one."""

    @property
    def version(self) -> int:
        """What people did to it so far, counted; the highest in the cluster wins."""
        ...

    def adopt(self, open_s: float, reason: str) -> None:
        """A peer is open for another `open_s` seconds: be so too."""
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
