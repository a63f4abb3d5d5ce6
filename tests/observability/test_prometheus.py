"""The Prometheus adapter of the toolkit, as an application without the service uses it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from synccash.observability.prometheus import BreakerCollector, EventCounter, RetryCollector
from synccash.resilience import BreakerSettings, CircuitOpenError, Policy, Retry
from synccash.resilience.events import DeadlinePassed, RetryScheduled
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.registry import Registry

SMS = Profile(retry=Retry(attempts=2, strategy="immediate", on=OSError), breaker=BreakerSettings(failures=2))


def series(*collectors) -> dict[str, float]:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def down() -> None:
    raise ConnectionResetError


def test_events_breakers_and_retries_of_a_registry_are_counted():
    events = EventCounter()
    registry = Registry({**PROFILES, "sms": SMS}, on_event=events)
    policy = registry.policy("sms:send", interrupt=False)
    with pytest.raises(ConnectionResetError):
        policy.call_sync(down)
    with pytest.raises(CircuitOpenError):
        policy.call_sync(down)
    found = series(events, BreakerCollector(registry), RetryCollector(registry))
    assert {name: value for name, value in found.items() if name.startswith("resilience_events_total")} == {
        "resilience_events_total{event=retry_scheduled,service=SMS:SEND}": 1,
        "resilience_events_total{event=breaker_open,service=SMS:SEND}": 1,
        "resilience_events_total{event=call_failed,service=SMS:SEND}": 1,
        "resilience_events_total{event=call_refused,service=SMS:SEND}": 1,
    }
    assert found["circuit_breaker_state{service=SMS:SEND}"] == 2
    assert found["circuit_breaker_failure_total{service=SMS:SEND}"] == 2
    assert found["circuit_breaker_blocked_total{service=SMS:SEND}"] == 1
    assert found["circuit_breaker_call_duration_count{service=SMS:SEND}"] == 2
    assert found["retry_exhausted_total{service=SMS:SEND}"] == 1
    assert found["retry_repeats_total{service=SMS:SEND}"] == 1


def test_names_beyond_the_limit_share_one_series():
    events = EventCounter(most=2)
    for number in range(5):
        events(DeadlinePassed(name=f"rates{number}"))
    assert series(events) == {
        "resilience_events_total{event=deadline_passed,service=RATES0}": 1,
        "resilience_events_total{event=deadline_passed,service=RATES1}": 1,
        "resilience_events_total{event=deadline_passed,service=other}": 3,
    }


def test_counts_are_exact_under_threads():
    events = EventCounter()
    event = RetryScheduled(name="rates", attempt=1, error=None, wait_s=0.0)

    def count(_: int) -> None:
        for _ in range(2_000):
            events(event)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert series(events) == {"resilience_events_total{event=retry_scheduled,service=RATES}": 16_000}


def test_a_policy_of_its_own_counts_too():
    events = EventCounter()
    policy = Policy("rates", on_event=events)
    with pytest.raises(ConnectionResetError):
        policy.call_sync(down)
    assert series(events) == {"resilience_events_total{event=call_failed,service=RATES}": 1}


_IMPORTED = """
import sys
sys.modules["{0}"] = None
import synccash.resilience.registry, synccash.observability
try:
    import synccash.observability.{1}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("library", "module"), [("prometheus_client", "prometheus"), ("opentelemetry", "opentelemetry")]
)
def test_only_the_adapter_needs_its_library_and_it_names_its_extra(library, module):
    ran = subprocess.run(
        [sys.executable, "-c", _IMPORTED.format(library, module)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert f"pip install 'synccash[{module}]'" in ran.stdout
