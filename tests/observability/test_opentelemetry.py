"""The OpenTelemetry adapter, against the abstract classes of the API, which the SDK implements too."""

from collections.abc import Iterable

import pytest
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Counter, NoOpMeter, Observation

from synccash.observability.opentelemetry import EventRecorder, observe
from synccash.resilience import BreakerSettings, CircuitOpenError, Retry
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.registry import Registry

SMS = Profile(retry=Retry(attempts=2, strategy="immediate", on=OSError), breaker=BreakerSettings(failures=2))


class RecordingCounter(Counter):
    def __init__(self) -> None:
        self.added: list[tuple[int, dict[str, object]]] = []

    def add(self, amount, attributes=None, context=None) -> None:
        self.added.append((amount, dict(attributes)))


class RecordingMeter(NoOpMeter):
    """Keeps the counter, and the callbacks of observable instruments by name."""

    def __init__(self) -> None:
        super().__init__("test")
        self.counter = RecordingCounter()
        self.callbacks = {}

    def create_counter(self, name, unit="", description="") -> Counter:
        assert name == "resilience.events"
        return self.counter

    def create_observable_counter(self, name, callbacks=None, unit="", description=""):
        self.callbacks[name] = callbacks
        return super().create_observable_counter(name, callbacks, unit, description)

    def create_observable_gauge(self, name, callbacks=None, unit="", description=""):
        self.callbacks[name] = callbacks
        return super().create_observable_gauge(name, callbacks, unit, description)

    def read(self, name: str) -> dict[tuple[object, ...], float]:
        found: Iterable[Observation] = (
            one for call in self.callbacks[name] for one in call(CallbackOptions())
        )
        return {tuple(one.attributes.values()): one.value for one in found}


class RecordingSpan(trace.NonRecordingSpan):
    def __init__(self) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.events: list[tuple[str, dict[str, object]]] = []

    def is_recording(self) -> bool:
        return True

    def add_event(self, name, attributes=None, timestamp=None) -> None:
        self.events.append((name, dict(attributes)))


def down() -> None:
    raise ConnectionResetError


@pytest.fixture
def meter() -> RecordingMeter:
    return RecordingMeter()


def test_events_are_counted_and_added_to_the_current_span(meter):
    registry = Registry({**PROFILES, "sms": SMS}, on_event=EventRecorder(meter), clock=lambda: 0.0)
    policy = registry.policy("sms:send", interrupt=False)
    span = RecordingSpan()
    with trace.use_span(span), pytest.raises(ConnectionResetError):
        policy.call_sync(down)
    assert [name for name, _ in span.events] == [
        "resilience.retry_scheduled",
        "resilience.breaker_open",
        "resilience.call_failed",
    ]
    assert span.events[0][1] == {
        "resilience.name": "sms:send",
        "resilience.attempt": 1,
        "resilience.error": "ConnectionResetError",
        "resilience.wait_s": 0.0,
    }
    assert span.events[1][1]["resilience.after"] == "open"
    with pytest.raises(CircuitOpenError):  # without a span
        policy.call_sync(down)
    kinds = [attributes["resilience.event"] for _, attributes in meter.counter.added]
    assert kinds == ["retry_scheduled", "breaker_open", "call_failed", "call_refused"]
    assert all(amount == 1 for amount, _ in meter.counter.added)


def test_instruments_read_the_counts_of_a_registry(meter):
    registry = Registry({**PROFILES, "sms": SMS})
    observe(registry, meter)
    policy = registry.policy("sms:send", interrupt=False)
    policy.call_sync(lambda: None)
    with pytest.raises(ConnectionResetError):
        policy.call_sync(down)
    assert meter.read("resilience.breaker.state") == {("sms:send",): 2}
    assert meter.read("resilience.breaker.calls") == {
        ("sms:send", "successes"): 1,
        ("sms:send", "failures"): 2,
        ("sms:send", "ignored"): 0,
        ("sms:send", "blocked"): 0,
    }
    assert meter.read("resilience.calls") == {
        ("sms:send", "successes"): 1,
        ("sms:send", "failures"): 0,
        ("sms:send", "exhausted"): 1,
    }
    assert meter.read("resilience.retries") == {("sms:send",): 1}


def test_without_an_sdk_nothing_fails():
    registry = Registry({**PROFILES, "sms": SMS}, on_event=EventRecorder())
    observe(registry)
    with pytest.raises(ConnectionResetError):
        registry.policy("sms:send", interrupt=False).call_sync(down)
