"""Snapshots of a circuit breaker as immutable values: statistics, state transitions, the last failure."""

from bisect import bisect_left
from dataclasses import dataclass

from synccash.resilience._core.masking import mask_identifiers
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.verdict import FailureCause

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets in seconds; one more bucket holds all longer calls."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """Type and message of a failure: the exception's, or code and text of a `FailureCause`. `at`: when it
    happened, in seconds since 1970 (UTC), so that it means the same in every process.

    Holds no exception object, because its traceback would keep frames and their variables in memory.
    """

    type: str
    message: str
    at: float

    @classmethod
    def from_error(cls, error: BaseException | FailureCause | str, at: float) -> "LastFailure":
        """Build it from an exception, a cause or a plain description; personal data in it is masked."""
        if isinstance(error, FailureCause):
            return cls(error.code, mask_identifiers(error.text), at)
        if isinstance(error, str):
            return cls("", mask_identifiers(error), at)
        try:
            text = mask_identifiers(str(error))
        except Exception:
            text = ""
        return cls(type(error).__name__, text, at)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type and self.message else self.type or self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A snapshot of a breaker. Counts since it was created; `window_*` are the counts of its window.

    `retry_after`: seconds until the breaker may allow calls; None while it allows them and while it is forced
    open. `blocked`: refused calls. `opened`: how often it opened. `rounds`: how often it opened since it was
    last closed. `durations`: calls by duration, one count for each of BOUNDS_S and one for longer calls;
    `seconds`: the sum of all durations. `version`: number of the last operator action.
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
    """One change of a breaker's state. `by`: "breaker", "person" (an operator) or "peer" (another process).

    `open_s`: for how long it opened, None if it did not. `version`: number of the last operator action.
    """

    name: str
    before: BreakerState
    after: BreakerState
    reason: str
    by: str
    open_s: float | None
    version: int


def duration_bucket(seconds: float) -> int:
    """Return the index of a duration in `Statistics.durations`."""
    return bisect_left(BOUNDS_S, seconds)
