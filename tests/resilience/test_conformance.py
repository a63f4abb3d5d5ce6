"""The conformance suite passes for our breaker and fails for a wrong one; and state that peers send."""

import pytest

from synccash.resilience import BreakerSettings, CircuitBreaker, CircuitOpenError, Outcome
from synccash.resilience.conformance import BreakerConformance
from synccash.resilience.testing import FakeClock


class BreakerAdapter:
    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker

    def admit(self) -> int | None:
        try:
            return self.breaker.acquire()
        except CircuitOpenError:
            return None

    def succeed(self, ticket: int) -> None:
        self.breaker.record(ticket, Outcome.OK, 0.001)

    def fail(self, ticket: int) -> None:
        self.breaker.record(ticket, Outcome.FAILED, 0.001, error="down")

    def cancel(self, ticket: int) -> None:
        self.breaker.release(ticket)


class TestOurBreaker(BreakerConformance):
    def make(self, *, failures, open_s, hold_s, clock):
        rules = BreakerSettings(failures=failures, open_s=open_s, probe_hold_s=hold_s)
        return BreakerAdapter(CircuitBreaker("rail", rules, clock=clock))


def test_the_suite_fails_for_a_breaker_that_allows_every_call():
    class AlwaysClosed(BreakerConformance):
        def make(self, **_):
            return BreakerAdapter(CircuitBreaker("rail", BreakerSettings(mode="disabled")))

    with pytest.raises(AssertionError, match="must open the breaker"):
        AlwaysClosed().test_of_fifty_callers_together_one_probes()


def test_in_shadow_mode_refusals_are_only_counted_and_probes_still_close_the_breaker():
    clock = FakeClock()
    rules = BreakerSettings(failures=1, open_s=30.0, mode="shadow")
    breaker = CircuitBreaker("rail", rules, clock=clock, random=lambda: 0.0)
    breaker.record(breaker.acquire(), Outcome.FAILED, 0.1)
    assert (breaker.acquire(), breaker.retry_after(), breaker.statistics().blocked) == (0, None, 1)
    clock.move(30.0)
    probe = breaker.acquire()
    assert (probe < 0, breaker.acquire()) == (True, 0)
    breaker.record(probe, Outcome.OK, 0.1)
    assert breaker.state.value == "closed"


def test_a_peers_open_state_is_adopted_or_lowers_the_failure_threshold():
    clock = FakeClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=4), clock=clock)
    breaker.adopt(12.0, "a peer saw it down")
    assert (breaker.retry_after(), breaker.reason) == (12.0, "a peer saw it down")
    breaker.reset()
    breaker.hint(10.0)
    for _ in range(2):
        breaker.record(breaker.acquire(), Outcome.FAILED, 0.1)
    assert breaker.state.value == "open"


def test_the_latest_operator_action_wins_in_any_order_of_arrival():
    breaker = CircuitBreaker("rail")
    breaker.reset("later", version=2)
    breaker.force_open("earlier", version=1)
    assert breaker.state.value == "closed"
    breaker.force_open("last", version=3)
    assert (breaker.state.value, breaker.version) == ("forced_open", 3)
