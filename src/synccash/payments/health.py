"""Rail health: exponentially decayed samples of a rail's behaviour, and the score computed from them. Pure.

Each aspect is a pair of weights, good and bad, so the samples of two processes can be added. Memory is
constant.
"""

from dataclasses import dataclass
from enum import StrEnum

from synccash.payments.failure import Failure, FailureCode

_UNCLEAR = 0.1
"""The weight of a failure whose code more often means a payer without money than a fault of the rail."""


class HealthAspect(StrEnum):
    """An aspect of a rail that is measured."""

    SEND = "send"
    """Orders that it accepted, against those that it refused or whose outcome it left unknown."""
    END = "end"
    """Orders that succeeded, against those that it accepted and then failed by its own fault."""
    PACE = "pace"
    """How quickly it answers orders."""
    INQUIRY = "inquiry"
    """How quickly it answers inquiries, and whether it then knows an order that it accepted."""
    CALLBACK = "callback"
    """Ends that a callback reported first, against those that an inquiry found before any callback."""


ASPECTS = tuple(HealthAspect)
_WEIGHED = {
    HealthAspect.SEND: (1.0, 0.93),
    HealthAspect.END: (1.0, 0.93),
    HealthAspect.PACE: (0.5, 0.9),
    HealthAspect.INQUIRY: (0.3, 0.8),
    HealthAspect.CALLBACK: (0.1, 0.3),
}
"""In the order of ASPECTS: how much of the score an aspect with no good samples costs, and from which share
of good samples on it costs nothing. The tolerance keeps noise from rerouting payments; an inquiry is often
slightly faster than a callback that is on time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Settings of rail health. Times in seconds, shares from 0 to 1.

    A sample counts half after `half_life_s`, and a score rests on the last `memory` samples at most.
    `prior`: the number of good samples assumed at the start, so that the first bad ones do not decide. The
    public status assumes only `public_prior`, because a rail that routing avoids yields few samples.
    An answer within `slow_s` counts as fast, one that took `timeout_s` as completely slow.
    Below `unhealthy_below` a rail gets no share of a split; below `degraded_below` its status becomes
    degraded, and from `recovered_above` healthy again, each after the score has stayed there for `hold_s`.
    """

    half_life_s: float = 30.0
    memory: float = 150.0
    prior: float = 30.0
    public_prior: float = 5.0
    slow_s: float = 2.0
    timeout_s: float = 5.0
    unhealthy_below: float = 0.9
    degraded_below: float = 0.8
    recovered_above: float = 0.9
    hold_s: float = 10.0

    def __post_init__(self) -> None:
        if (
            min(self.half_life_s, self.memory, self.prior, self.public_prior, self.slow_s) <= 0
            or self.hold_s < 0
        ):
            raise ValueError("half_life_s, memory, priors and slow_s must be above 0, hold_s at least 0")
        if not 0 < self.degraded_below < self.recovered_above <= 1:
            raise ValueError("expected 0 < degraded_below < recovered_above <= 1")

    def slowness(self, seconds: float) -> float:
        """Return how slow an answer was: 0 up to `slow_s`, 1 from `timeout_s` on."""
        if seconds <= self.slow_s:
            return 0.0
        span_s = self.timeout_s - self.slow_s
        return 1.0 if span_s <= 0 else min(1.0, (seconds - self.slow_s) / span_s)


@dataclass(frozen=True, slots=True)
class Tally:
    """The weights of good and bad samples."""

    good: float = 0.0
    bad: float = 0.0


_NO_WEIGHT = Tally()


@dataclass(frozen=True, slots=True)
class Signals:
    """The samples of one rail, network and operation, as of the monotonic time `at` in seconds.

    `weights`: good and bad of each aspect in turn, in one flat tuple, because every order reads and writes
    it.
    """

    at: float
    weights: tuple[float, ...] = (0.0, 0.0) * len(ASPECTS)

    def of(self, aspect: HealthAspect) -> Tally:
        """Return the weights of one aspect."""
        index = 2 * ASPECTS.index(aspect)
        return Tally(*self.weights[index : index + 2])

    def as_of(self, now: float, half_life_s: float) -> "Signals":
        """Return the signals decayed until `now`; an earlier `now` changes nothing."""
        if now <= self.at:
            return self
        factor = 0.5 ** ((now - self.at) / half_life_s)
        return Signals(now, tuple([weight * factor for weight in self.weights]))

    def with_sample(
        self,
        aspect: HealthAspect,
        now: float,
        settings: HealthSettings,
        *,
        good: float = 0.0,
        bad: float = 0.0,
    ) -> "Signals":
        """Return the signals with one more sample."""
        decayed = self.as_of(now, settings.half_life_s)
        index, weights = 2 * ASPECTS.index(aspect), list(decayed.weights)
        good, bad = weights[index] + good, weights[index + 1] + bad
        fits = min(1.0, settings.memory / (good + bad)) if good + bad > 0 else 1.0
        weights[index], weights[index + 1] = good * fits, bad * fits
        return Signals(decayed.at, tuple(weights))

    def combined_with(self, other: "Signals", half_life_s: float) -> "Signals":
        """Return the sum of the signals of two observers, as of the later one."""
        now = max(self.at, other.at)
        mine, theirs = self.as_of(now, half_life_s).weights, other.as_of(now, half_life_s).weights
        return Signals(now, tuple([one + another for one, another in zip(mine, theirs, strict=True)]))


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a rail: `score` from 0 (nothing works) to 1 (no fault), and each aspect's share of good
    samples.

    `public`: the score with the small `public_prior`, for the public status, which changes only after a
    while. `weight`: the decayed number of orders that the score rests on.
    """

    score: float = 1.0
    shares: tuple[float, ...] = (1.0,) * len(ASPECTS)
    public: float = 1.0
    weight: float = 0.0

    def explained(self) -> dict[str, float]:
        """Return each aspect with its share of good samples."""
        return {aspect.value: round(share, 3) for aspect, share in zip(ASPECTS, self.shares, strict=True)}


FULL_HEALTH = Health()


def health_of(signals: Signals, settings: HealthSettings, *, overdue: int = 0) -> Health:
    """Return the health of a rail. `overdue`: orders sent longer than `slow_s` ago that it has not
    answered."""
    weights = signals.weights
    score, shares = _score(weights, settings.prior, overdue)
    public, _ = _score(weights, settings.public_prior, overdue)
    return Health(score, shares, public, weights[0] + weights[1])


def _score(weights: tuple[float, ...], prior: float, overdue: int) -> tuple[float, tuple[float, ...]]:
    score, shares = 1.0, list[float]()
    for i, (worth, good_enough) in enumerate(_WEIGHED.values()):
        good, bad = weights[2 * i], weights[2 * i + 1]
        if i == 0:
            bad += overdue
        share = (good + prior) / (good + bad + prior)
        shares.append(share)
        if share < good_enough:
            score *= 1.0 - worth * (1.0 - share / good_enough)
    return score, tuple(shares)


def failure_weight(failure: Failure | None) -> Tally:
    """Return the bad weight that an attempt's failure gives its rail: none if the payer or merchant caused
    it."""
    if failure is None:
        return Tally(bad=1.0)
    if not failure.counts_against_rail:
        return _NO_WEIGHT
    unclear = failure.code is FailureCode.PROVIDER_ERROR and not failure.reroute
    return Tally(bad=_UNCLEAR if unclear else 1.0)


class HealthStatus(StrEnum):
    """The public status of a rail."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class HealthState:
    """A rail's public status, and since when (monotonic seconds) the score has contradicted it; None = it
    agrees."""

    status: HealthStatus = HealthStatus.HEALTHY
    doubted_since: float | None = None

    def after(
        self, score: float, now: float, settings: HealthSettings, *, is_open: bool = False, known: bool = True
    ) -> "HealthState":
        """Return the state after one more evaluation. `is_open`: the breaker refuses all calls. `known`: the
        score rests on samples; a rail without samples does not recover.

        The status does not change between the two thresholds, nor before the score stayed past one for
        `hold_s`.
        """
        if self.status is HealthStatus.HEALTHY:
            doubtful = is_open or score < settings.degraded_below
        else:
            doubtful = known and not is_open and score >= settings.recovered_above
        if not doubtful:
            return HealthState(self.status)
        since = now if self.doubted_since is None else self.doubted_since
        if now - since < settings.hold_s:
            return HealthState(self.status, since)
        return HealthState(
            HealthStatus.DEGRADED if self.status is HealthStatus.HEALTHY else HealthStatus.HEALTHY
        )
