"""How well a rail serves: what was seen of it lately, fading with time, and what that is worth. Pure.

Everything is a pair of weights, good and bad, so two processes' knowledge is added up; nothing grows.
"""

from dataclasses import dataclass
from enum import StrEnum

from synccash.payments.failure import Failure, FailureCode

_UNCLEAR = 0.1
"""What an end counts whose code hides a payer without money more often than a fault of the rail."""


class HealthAspect(StrEnum):
    """What is watched of a rail."""

    SEND = "send"
    """Orders that it took, against those that it refused or left in the dark."""
    END = "end"
    """Orders that ended well, against those that it took and then failed by a fault of its own."""
    PACE = "pace"
    """How quickly it answers orders."""
    INQUIRY = "inquiry"
    """How quickly it answers inquiries, and whether it knows by then what it took."""
    CALLBACK = "callback"
    """Ends that a callback told, against those that an inquiry found because none had come yet."""


ASPECTS = tuple(HealthAspect)
_WEIGHED = {
    HealthAspect.SEND: (1.0, 0.93),
    HealthAspect.END: (1.0, 0.93),
    HealthAspect.PACE: (0.5, 0.9),
    HealthAspect.INQUIRY: (0.3, 0.8),
    HealthAspect.CALLBACK: (0.1, 0.3),
}
"""In the order of ASPECTS: how much of a rail's health is lost where nothing of an aspect is well, and which
share is as good as all of it. Chance must not send payments elsewhere, and an inquiry is often a moment
quicker than a callback that comes in good time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """How knowledge of rails is weighed. Times in seconds, shares from 0 to 1.

    A sighting counts half after `half_life_s`, and a verdict rests on the last `memory` sightings at most.
    `prior`: so many good ones are taken for granted, so that the first bad ones do not decide. What is said
    in public takes only `public_prior` for granted: a rail that is passed over is hardly seen any more.
    An answer within `slow_s` is quick, one that took `timeout_s` as slow as can be.
    Below `ailing_below` a rail gets no share of a split; below `degraded_below` it is called degraded, and
    well again from `recovered_above`, each once that has held for `hold_s`.
    """

    half_life_s: float = 30.0
    memory: float = 150.0
    prior: float = 30.0
    public_prior: float = 5.0
    slow_s: float = 2.0
    timeout_s: float = 5.0
    ailing_below: float = 0.9
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
        """How slow an answer was: 0 up to `slow_s`, 1 from `timeout_s` on."""
        if seconds <= self.slow_s:
            return 0.0
        span_s = self.timeout_s - self.slow_s
        return 1.0 if span_s <= 0 else min(1.0, (seconds - self.slow_s) / span_s)


@dataclass(frozen=True, slots=True)
class Tally:
    """Weights of what went well and what did not."""

    good: float = 0.0
    bad: float = 0.0


_NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of one rail, network and operation, as of the monotonic time `at` in seconds.

    `weights`: good and bad of each aspect in turn, flat, because every order reads and writes some.
    """

    at: float
    weights: tuple[float, ...] = (0.0, 0.0) * len(ASPECTS)

    def of(self, aspect: HealthAspect) -> Tally:
        """The tally of one aspect."""
        place = 2 * ASPECTS.index(aspect)
        return Tally(*self.weights[place : place + 2])

    def as_of(self, now: float, half_life_s: float) -> "Signals":
        """Return the signals as they have faded until `now`. Time never runs back."""
        if now <= self.at:
            return self
        factor = 0.5 ** ((now - self.at) / half_life_s)
        return Signals(now, tuple([weight * factor for weight in self.weights]))

    def seen(
        self,
        aspect: HealthAspect,
        now: float,
        settings: HealthSettings,
        *,
        good: float = 0.0,
        bad: float = 0.0,
    ) -> "Signals":
        """Return the signals after one more sighting."""
        faded = self.as_of(now, settings.half_life_s)
        place, weights = 2 * ASPECTS.index(aspect), list(faded.weights)
        good, bad = weights[place] + good, weights[place + 1] + bad
        fits = min(1.0, settings.memory / (good + bad)) if good + bad > 0 else 1.0
        weights[place], weights[place + 1] = good * fits, bad * fits
        return Signals(faded.at, tuple(weights))

    def together(self, other: "Signals", half_life_s: float) -> "Signals":
        """Return what two observers know, as of the later of both."""
        now = max(self.at, other.at)
        mine, theirs = self.as_of(now, half_life_s).weights, other.as_of(now, half_life_s).weights
        return Signals(now, tuple([one + another for one, another in zip(mine, theirs, strict=True)]))


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict: `score` from 0 (nothing works) to 1 (all is well), and each aspect's share of good.

    `public`: the score with hardly anything taken for granted, for what is told only once it has held for a
    while. `weight`: on how many orders it rests, those long ago counted less.
    """

    score: float = 1.0
    shares: tuple[float, ...] = (1.0,) * len(ASPECTS)
    public: float = 1.0
    weight: float = 0.0

    def explained(self) -> dict[str, float]:
        """Each aspect with its share of good sightings."""
        return {aspect.value: round(share, 3) for aspect, share in zip(ASPECTS, self.shares, strict=True)}


WELL = Health()


def health_of(signals: Signals, settings: HealthSettings, *, overdue: int = 0) -> Health:
    """Judge a rail. `overdue`: orders that it has had for longer than `slow_s` without a word."""
    weights = signals.weights
    score, shares = _score(weights, settings.prior, overdue)
    public, _ = _score(weights, settings.public_prior, overdue)
    return Health(score, shares, public, weights[0] + weights[1])


def _score(weights: tuple[float, ...], prior: float, overdue: int) -> tuple[float, tuple[float, ...]]:
    score, shares = 1.0, list[float]()
    for place, (worth, good_enough) in enumerate(_WEIGHED.values()):
        good, bad = weights[2 * place], weights[2 * place + 1]
        if place == 0:
            bad += overdue
        share = (good + prior) / (good + bad + prior)
        shares.append(share)
        if share < good_enough:
            score *= 1.0 - worth * (1.0 - share / good_enough)
    return score, tuple(shares)


def blame(failure: Failure | None) -> Tally:
    """What an attempt's failure says about the rail: nothing where the payer or the merchant is the cause."""
    if failure is None:
        return Tally(bad=1.0)
    if not failure.counts_against_rail:
        return _NOTHING
    unclear = failure.code is FailureCode.PROVIDER_ERROR and not failure.reroute
    return Tally(bad=_UNCLEAR if unclear else 1.0)


class HealthStatus(StrEnum):
    """What a rail is called in public."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class HealthState:
    """A standing, and since when (monotonic seconds) the signs have spoken against it; None = they do not."""

    standing: HealthStatus = HealthStatus.HEALTHY
    doubted_since: float | None = None

    def after(
        self, score: float, now: float, settings: HealthSettings, *, shut: bool = False, known: bool = True
    ) -> "HealthState":
        """Return the repute after one more look. `shut`: a breaker refuses everything. `known`: the score
        rests on something; that nothing was seen is no recovery.

        Between the two thresholds nothing changes, and nothing does before `hold_s` of the same news.
        """
        if self.standing is HealthStatus.HEALTHY:
            doubtful = shut or score < settings.degraded_below
        else:
            doubtful = known and not shut and score >= settings.recovered_above
        if not doubtful:
            return HealthState(self.standing)
        since = now if self.doubted_since is None else self.doubted_since
        if now - since < settings.hold_s:
            return HealthState(self.standing, since)
        return HealthState(
            HealthStatus.DEGRADED if self.standing is HealthStatus.HEALTHY else HealthStatus.HEALTHY
        )
