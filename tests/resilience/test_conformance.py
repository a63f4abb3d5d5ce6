"""The suite for anybody's breaker, tried on ours and on a bad one; and what others make a breaker do."""

import pytest

from synccash.resilience import BreakerSettings, CircuitBreaker, CircuitOpenError, Outcome
from synccash.resilience.conformance import BreakerConformance
from synccash.resilience.testing import FakeClock


class Adapter:
    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker

    def admit(self) -> int | None:
        try:
            return self.breaker.enter()
        except CircuitOpenError:
            return None

    def succeed(self, ticket: int) -> None:
        self.breaker.leave(ticket, Outcome.OK, 0.001)

    def fail(self, ticket: int) -> None:
        self.breaker.leave(ticket, Outcome.FAILED, 0.001, error="down")

    def cancel(self, ticket: int) -> None:
        self.breaker.drop(ticket)


class TestOurBreaker(BreakerConformance):
    def make(self, *, failures, open_s, hold_s, clock):
        rules = BreakerSettings(failures=failures, open_s=open_s, probe_hold_s=hold_s)
        return Adapter(CircuitBreaker("rail", rules, clock=clock))


def test_the_suite_finds_a_breaker_that_lets_everybody_in():
    class Open(BreakerConformance):
        def make(self, **_):
            return Adapter(CircuitBreaker("rail", BreakerSettings(mode="disabled")))

    with pytest.raises(AssertionError, match="open it"):
        Open().test_of_fifty_callers_together_one_probes()


def test_in_shadow_a_refusal_is_only_counted_and_probes_still_prove():
    clock = FakeClock()
    rules = BreakerSettings(failures=1, open_s=30.0, mode="shadow")
    breaker = CircuitBreaker("rail", rules, clock=clock, random=lambda: 0.0)
    breaker.leave(breaker.enter(), Outcome.FAILED, 0.1)
    assert (breaker.enter(), breaker.retry_after(), breaker.statistics().blocked) == (0, None, 1)
    clock.move(30.0)
    probe = breaker.enter()
    assert (probe < 0, breaker.enter()) == (True, 0)
    breaker.leave(probe, Outcome.OK, 0.1)
    assert breaker.state.value == "closed"


def test_what_another_process_found_is_adopted_or_taken_as_a_hint():
    clock = FakeClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=4), clock=clock)
    breaker.adopt(12.0, "a peer saw it down")
    assert (breaker.retry_after(), breaker.reason) == (12.0, "a peer saw it down")
    breaker.reset()
    breaker.hint(10.0)
    for _ in range(2):
        breaker.leave(breaker.enter(), Outcome.FAILED, 0.1)
    assert breaker.state.value == "open"


def test_what_a_person_did_last_holds_in_whatever_order_it_arrives():
    breaker = CircuitBreaker("rail")
    breaker.reset("later", version=2)
    breaker.force_open("earlier", version=1)
    assert breaker.state.value == "closed"
    breaker.force_open("last", version=3)
    assert (breaker.state.value, breaker.version) == ("forced_open", 3)
