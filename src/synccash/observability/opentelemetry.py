"""OpenTelemetry for the toolkit: metrics of breakers and retries, events as metrics and in spans.

>>> registry = Registry(on_event=EventRecorder())
>>> observe(registry)

Needs `synccash[opentelemetry]`, which is the API alone: without an SDK nothing is recorded. Not part of
`synccash.resilience`, which imports the standard library only.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields

try:
    from opentelemetry import trace
    from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter
except ImportError as error:
    text = f"{__name__} needs opentelemetry-api. Run: pip install 'synccash[opentelemetry]'"
    raise ModuleNotFoundError(text) from error

from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.events import Event, event_kind
from synccash.resilience.registry import Registry

_SCOPE = "synccash.resilience"
_NAME = "resilience.name"
_OUTCOME = "resilience.outcome"
_STATES = {
    BreakerState.CLOSED: 0,
    BreakerState.HALF_OPEN: 1,
    BreakerState.OPEN: 2,
    BreakerState.FORCED_OPEN: 3,
}
Callback = Callable[[CallbackOptions], Iterable[Observation]]


class EventRecorder:
    """A hook for `on_event`: counts events in `resilience.events`, and adds each to the current span.

    A span event is named after its kind, such as `resilience.retry_scheduled`, and has the fields as
    attributes.
    """

    __slots__ = ("_counter",)

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or get_meter(_SCOPE)
        text = "Events of policies and circuit breakers"
        self._counter = meter.create_counter("resilience.events", "{event}", text)

    def __call__(self, event: Event) -> None:
        """Record an event."""
        kind = event_kind(event)
        self._counter.add(1, {_NAME: event.name, "resilience.event": kind})
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(f"resilience.{kind}", _attributes(event))


def observe(registry: Registry, meter: Meter | None = None) -> None:
    """Register instruments that read the counts of a registry whenever metrics are collected.

    `resilience.breaker.state`: 0 closed, 1 half-open, 2 open, 3 forced open. `resilience.breaker.calls` and
    `resilience.calls` by outcome; `resilience.retries`. The instruments keep the registry alive.
    """
    meter = meter or get_meter(_SCOPE)

    def states(_: CallbackOptions) -> Iterable[Observation]:
        for name, breaker in registry.breakers().items():
            yield Observation(_STATES[breaker.state], {_NAME: name})

    def breaker_calls(_: CallbackOptions) -> Iterable[Observation]:
        for name, breaker in registry.breakers().items():
            seen = breaker.statistics()
            for outcome in ("successes", "failures", "ignored", "blocked"):
                yield Observation(getattr(seen, outcome), {_NAME: name, _OUTCOME: outcome})

    def calls(_: CallbackOptions) -> Iterable[Observation]:
        for name, budget in registry.budgets().items():
            seen = budget.statistics()
            for outcome in ("successes", "failures", "exhausted"):
                yield Observation(getattr(seen, outcome), {_NAME: name, _OUTCOME: outcome})

    def retries(_: CallbackOptions) -> Iterable[Observation]:
        for name, budget in registry.budgets().items():
            yield Observation(budget.statistics().retries, {_NAME: name})

    meter.create_observable_gauge("resilience.breaker.state", [states], "1", "State of circuit breakers")
    for name, callback, unit, text in (
        ("resilience.breaker.calls", breaker_calls, "{call}", "Calls that circuit breakers counted"),
        ("resilience.calls", calls, "{call}", "Calls of policies, by how they ended"),
        ("resilience.retries", retries, "{retry}", "Retries of policies"),
    ):
        meter.create_observable_counter(name, [callback], unit, text)


def _attributes(event: Event) -> dict[str, str | bool | int | float]:
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    plain = {
        name: value.value if isinstance(value, BreakerState) else value for name, value in values.items()
    }
    return {f"resilience.{name}": value for name, value in plain.items() if value is not None}
