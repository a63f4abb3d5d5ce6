"""Prometheus metrics of the toolkit: counts of breakers and retries, and of events. `synccash[prometheus]`.

>>> events = EventCounter()
>>> registry = Registry(on_event=events)
>>> for collector in (BreakerCollector(registry), RetryCollector(registry), events):
...     prometheus_client.REGISTRY.register(collector)

Not part of `synccash.resilience`, which imports the standard library only. The service uses it too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from threading import RLock

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
except ImportError as error:
    text = f"{__name__} needs prometheus-client. Run: pip install 'synccash[prometheus]'"
    raise ModuleNotFoundError(text) from error

from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.breaker_statistics import BOUNDS_S, Statistics
from synccash.resilience.budget import RetryStatistics
from synccash.resilience.events import Event, event_kind
from synccash.resilience.registry import Registry

_STATES = {
    BreakerState.CLOSED: 0,
    BreakerState.HALF_OPEN: 1,
    BreakerState.OPEN: 2,
    BreakerState.FORCED_OPEN: 3,
}


@dataclass(frozen=True, slots=True, eq=False)
class BreakerCollector:
    """`circuit_breaker_*` by `service`: `MTN_MOMO` is its collect breaker, `MTN_MOMO:STATUS` another."""

    registry: Registry

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        breakers = sorted(self.registry.breakers().items())
        known = {service_of(name): breaker.statistics() for name, breaker in breakers}
        for kind, name, text, read in _OF_BREAKERS:
            yield _family(kind, name, text, {service: read(seen) for service, seen in known.items()})
        durations = HistogramMetricFamily(
            "circuit_breaker_call_duration", "Duration of calls in seconds", labels=["service"]
        )
        for service, seen in known.items():
            durations.add_metric([service], _buckets(seen), seen.seconds)
        yield durations


@dataclass(frozen=True, slots=True, eq=False)
class RetryCollector:
    """`retry_*` by `service`, named like the breakers; includes `DATABASE`, which has no breaker."""

    registry: Registry

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        names = sorted({*self.registry.breakers(), *self.registry.budgets()})
        known = {service_of(name): self.registry.budget(name).statistics() for name in names}
        for kind, name, text, read in _OF_RETRIES:
            yield _family(kind, name, text, {service: read(seen) for service, seen in known.items()})


class EventCounter:
    """`resilience_events` by `service` and `event`. A hook for `on_event`, in any thread, and a collector.

    `most`: the number of series. Events for which there is none left are counted under the service `other`.
    """

    __slots__ = ("_counts", "_lock", "_most")

    def __init__(self, *, most: int = 10_000) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._most = most
        self._lock = RLock()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        kind = event_kind(event)
        key = (service_of(event.name), kind)
        with self._lock:
            if key not in self._counts and len(self._counts) >= self._most:
                key = ("other", kind)
            self._counts[key] = self._counts.get(key, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        text = "Events of policies and circuit breakers"
        family = CounterMetricFamily("resilience_events", text, labels=["service", "event"])
        with self._lock:
            counts = sorted(self._counts.items())
        for labels, count in counts:
            family.add_metric(labels, count)
        yield family


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    values: Mapping[str, float],
) -> Metric:
    family = kind(name, text, labels=["service"])
    for service, value in values.items():
        family.add_metric([service], value)
    return family


def _state(seen: Statistics) -> float:
    return _STATES[seen.state]


def _open_seconds(seen: Statistics) -> float:
    return inf if seen.state is BreakerState.FORCED_OPEN else seen.retry_after or 0.0


_Kind = type[CounterMetricFamily] | type[GaugeMetricFamily]
_OF_BREAKERS: tuple[tuple[_Kind, str, str, Callable[[Statistics], float]], ...] = (
    (CounterMetricFamily, "circuit_breaker_success", "Calls that ended well", lambda s: s.successes),
    (CounterMetricFamily, "circuit_breaker_failure", "Calls that failed", lambda s: s.failures),
    (CounterMetricFamily, "circuit_breaker_ignored", "Calls that proved nothing", lambda s: s.ignored),
    (CounterMetricFamily, "circuit_breaker_blocked", "Calls that were refused", lambda s: s.blocked),
    (CounterMetricFamily, "circuit_breaker_opened", "How often it opened", lambda s: s.opened),
    (GaugeMetricFamily, "circuit_breaker_state", "0 closed, 1 half-open, 2 open, 3 forced open", _state),
    (
        GaugeMetricFamily,
        "circuit_breaker_open_seconds",
        "Until calls may be let in; +Inf: a reset",
        _open_seconds,
    ),
    (
        GaugeMetricFamily,
        "circuit_breaker_probes_running",
        "Probes under way",
        lambda s: s.probes_running,
    ),
)
_OF_RETRIES: tuple[tuple[_Kind, str, str, Callable[[RetryStatistics], float]], ...] = (
    (CounterMetricFamily, "retry_success", "Calls that ended well", lambda s: s.successes),
    (CounterMetricFamily, "retry_failure", "Calls whose error was not to be repeated", lambda s: s.failures),
    (CounterMetricFamily, "retry_exhausted", "Calls that gave up", lambda s: s.exhausted),
    (CounterMetricFamily, "retry_repeats", "Repeats", lambda s: s.retries),
    (CounterMetricFamily, "retry_refused", "Repeats that the budget could not pay", lambda s: s.refused),
    (GaugeMetricFamily, "retry_attempts", "Attempts of the last call that ended", lambda s: s.last_attempts),
    (GaugeMetricFamily, "retry_budget_tokens", "Repeats that could be paid now", lambda s: s.tokens),
)


def service_of(name: str) -> str:
    """Return a breaker's label: MTN_MOMO for `mtn_momo:collect`, MTN_MOMO:STATUS for `mtn_momo:status`."""
    return name.removesuffix(":collect").upper()


def _buckets(seen: Statistics) -> list[tuple[str, float]]:
    total, found = 0, list[tuple[str, float]]()
    for bound, count in zip((*(f"{one:g}" for one in BOUNDS_S), "+Inf"), seen.durations, strict=True):
        total += count
        found.append((bound, total))
    return found
