"""What a breaker has seen, as values that others may keep."""

from bisect import bisect_left
from dataclasses import dataclass

from synccash.resilience._core.masking import masked
from synccash.resilience.breaker_settings import BreakerState

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets; the last bucket has none."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """A failure without the exception, which would keep frames alive. `at`: by the breaker's clock."""

    type: str
    message: str
    at: float

    @classmethod
    def of(cls, error: BaseException | str, at: float) -> "LastFailure":
        """Keep an error's kind and its text without what names somebody; or just a word of our own."""
        if isinstance(error, str):
            return cls("", masked(error), at)
        try:
            text = masked(str(error))
        except Exception:
            text = ""
        return cls(type(error).__name__, text, at)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type and self.message else self.type or self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A breaker at one instant. Counts since its birth; `window_*` is what its rates look at.

    `retry_after`: seconds until calls may be let in; None while they are, and while it is forced open.

    `durations`: calls by duration, one count for each of BOUNDS_S and one for the longer ones; `seconds`:
    their sum. `version` counts what people did to it.
    """

    name: str
    state: BreakerState
    reason: str
    retry_after: float | None
    successes: int
    failures: int
    ignored: int
    blocked: int
    in_a_row: int
    window_calls: int
    window_failures: int
    window_slow: int
    opened: int
    rounds: int
    probes_running: int
    probes_succeeded: int
    durations: tuple[int, ...]
    seconds: float
    last_failure: LastFailure | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of a breaker's state. `by`: the breaker itself, a person, or another process.

    `open_s`: for how long it opened. `version`: what people did to it so far, counted.
    """

    name: str
    before: BreakerState
    after: BreakerState
    reason: str
    by: str
    open_s: float | None
    version: int


def bucket(seconds: float) -> int:
    """The place of a duration in `Statistics.durations`."""
    return bisect_left(BOUNDS_S, seconds)
