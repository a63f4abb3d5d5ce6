"""Measures each rail's health from the samples of this process and of its peers."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.health import (
    FULL_HEALTH,
    Health,
    HealthAspect,
    HealthSettings,
    Signals,
    failure_weight,
    health_of,
)
from synccash.payments.payer import Network
from synccash.payments.rail import Operation

Key = tuple[str, str, str]
"""Rail, network, operation. An empty network ("") holds the samples that apply to every network."""

_FRESH_S = 0.05
"""How long a computed health is reused, in seconds, unless a bad sample arrives."""


@dataclass(slots=True)
class RailHealth:
    """Holds the health samples of all rails. One per process, for one event loop.

    `now` is a monotonic clock in seconds.     The samples of peers are added to this process's
    own; without peers only its own count. `live`: the number of processes, including this one.
    """

    settings: HealthSettings
    now: Callable[[], float]
    live: int = 1
    _own: dict[Key, Signals] = field(default_factory=dict[Key, Signals])
    _peers: Mapping[Key, Signals] = field(default_factory=dict[Key, Signals])
    _waiting: dict[Key, dict[int, float]] = field(default_factory=dict[Key, dict[int, float]])
    _numbers: Iterator[int] = field(default_factory=count)
    _judged: dict[Key, tuple[float, Health]] = field(default_factory=dict[Key, tuple[float, Health]])

    def of(self, rail: str, network: Network | None, operation: Operation) -> Health:
        """Return the rail's present health."""
        key, now = _key(rail, network, operation), self.now()
        judged = self._judged.get(key)
        if judged is None or judged[0] <= now:
            judged = self._judged[key] = (now + _FRESH_S, self._judge(key, now))
        return judged[1]

    def record(self, key: Key, aspect: HealthAspect, *, good: float = 0.0, bad: float = 0.0) -> None:
        """Record one sample."""
        now = self.now()
        signals = self._own.get(key) or Signals(now)
        self._own[key] = signals.with_sample(aspect, now, self.settings, good=good, bad=bad)
        if bad:
            self._judged.clear()

    def record_end(self, attempt: Attempt, network: Network | None, *, callback_came: bool | None) -> None:
        """Record how an attempt ended by the rail's answer. `callback_came`: whether a callback had come;
        None for a rail that sends none."""
        key = _key(attempt.rail, network, attempt.operation)
        if attempt.state is AttemptState.SUCCEEDED:
            self.record(key, HealthAspect.END, good=1.0)
        elif bad_weight := failure_weight(attempt.failure).bad:
            self.record(key, HealthAspect.END, bad=bad_weight)
        if callback_came is not None:
            self.record(key, HealthAspect.CALLBACK, good=float(callback_came), bad=float(not callback_came))

    @contextmanager
    def waiting(self, key: Key) -> Generator[None]:
        """Mark a call to the rail as under way. A call that takes too long counts as bad before it ends."""
        number, waiting = next(self._numbers), self._waiting.setdefault(key, {})
        waiting[number] = self.now()
        try:
            yield
        finally:
            del waiting[number]

    def own_samples(self) -> dict[Key, Signals]:
        """Return this process's own samples, decayed to the present time."""
        now, half_life_s = self.now(), self.settings.half_life_s
        return {key: signals.as_of(now, half_life_s) for key, signals in self._own.items()}

    def set_peer_samples(self, peers: Mapping[Key, Signals], live: int) -> None:
        """Set the combined samples of the other processes, and the number of processes."""
        self._peers, self.live = peers, live

    def _judge(self, key: Key, now: float) -> Health:
        known = [
            signals
            for one in {key, (key[0], "", key[2])}
            for source in (self._own, self._peers)
            if (signals := source.get(one)) is not None
        ]
        overdue = self._overdue(key, now)
        if not known and not overdue:
            return FULL_HEALTH
        half_life_s, total = self.settings.half_life_s, Signals(now)
        for signals in known:
            total = total.combined_with(signals, half_life_s)
        return health_of(total, self.settings, overdue=overdue)

    def _overdue(self, key: Key, now: float) -> int:
        overdue, since = 0, now - self.settings.slow_s
        for began in self._waiting.get(key, {}).values():
            if began > since:
                break  # the remaining calls began later
            overdue += 1
        return overdue


def _key(rail: str, network: Network | None, operation: Operation) -> Key:
    return rail, network.value if network else "", operation.value
