"""Property test: the circuit breaker behaves like a naive model of it, under a fake clock."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from synccash.resilience import BreakerSettings, CircuitBreaker, CircuitOpenError, Outcome
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.testing import FakeClock

SETTINGS = BreakerSettings(
    failures=3,
    failure_rate=0.5,
    slow_rate=0.8,
    slow_s=2.0,
    window=6,
    min_calls=4,
    open_s=10.0,
    open_growth=2.0,
    open_max_s=30.0,
    probes=2,
    probes_at_once=1,
    probe_hold_s=5.0,
)


class Model:
    """A slow and simple implementation of the settings, with lists."""

    def __init__(self):
        self.state, self.calls, self.in_a_row = "closed", [], 0
        self.generation, self.until, self.rounds = 0, 0.0, 0
        self.probes, self.proven = {}, 0

    def acquire(self, now):
        if self.state == "open" and now >= self.until:
            self.change_state("half")
        if self.state == "closed":
            return ("call", self.generation)
        if self.state == "half":
            self.probes = {k: v for k, v in self.probes.items() if now - v < SETTINGS.probe_hold_s}
            if not self.probes:
                ticket = ("probe", self.generation, len(self.probes), now)
                self.probes[ticket] = now
                return ticket
        return None

    def change_state(self, state):
        self.state, self.calls, self.in_a_row = state, [], 0
        self.generation += 1
        self.probes, self.proven = {}, 0

    def open(self, now):
        self.until = now + min(30.0, 10.0 * 2.0**self.rounds)
        self.rounds += 1
        self.change_state("open")

    def record(self, ticket, outcome, seconds, now):
        if ticket[0] == "probe":
            if self.probes.pop(ticket, None) is None or ticket[1] != self.generation:
                return
            # With a slow_rate, a slow probe counts as a failed one.
            if outcome is Outcome.FAILED or (outcome is Outcome.OK and seconds >= SETTINGS.slow_s):
                self.open(now)
            elif outcome is Outcome.OK:
                self.proven += 1
                if self.proven == 2:
                    self.rounds = 0
                    self.change_state("closed")
            return
        if ticket[1] != self.generation or self.state != "closed" or outcome is Outcome.IGNORED:
            return
        failed, slow = outcome is Outcome.FAILED, seconds >= SETTINGS.slow_s
        self.calls = [*self.calls, (failed, slow)][-6:]
        self.in_a_row = self.in_a_row + 1 if failed else 0
        enough = len(self.calls) >= 4
        bad = sum(f for f, _ in self.calls) >= 0.5 * len(self.calls)
        sluggish = sum(s for _, s in self.calls) >= 0.8 * len(self.calls)
        if (failed or slow) and (self.in_a_row >= 3 or (enough and (bad or sluggish))):
            self.open(now)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.breaker = CircuitBreaker("rail", SETTINGS, clock=self.clock, random=lambda: 0.0)
        self.model = Model()
        self.running = []

    @rule()
    def acquire(self):
        expected = self.model.acquire(self.clock.now)
        if expected is None:
            with pytest.raises(CircuitOpenError) as refused:
                self.breaker.acquire()
            assert refused.value.retry_after >= 0
        else:
            self.running.append((self.breaker.acquire(), expected))

    @rule(
        data=st.data(),
        outcome=st.sampled_from([Outcome.OK, Outcome.FAILED, Outcome.FAILED, Outcome.IGNORED]),
        seconds=st.sampled_from([0.1, 1.9, 2.0, 7.0]),
    )
    def record(self, data, outcome, seconds):
        if not self.running:
            return
        ticket, expected = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.model.record(expected, outcome, seconds, self.clock.now)
        self.breaker.record(ticket, outcome, seconds)

    @rule(data=st.data())
    def cancel(self, data):
        if not self.running:
            return
        ticket, expected = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.model.probes.pop(expected, None)
        self.breaker.release(ticket)

    @rule(seconds=st.sampled_from([0.5, 4.9, 5.0, 10.0, 30.0]))
    def wait(self, seconds):
        self.clock.move(seconds)

    @rule()
    def reset(self):
        self.model.rounds = 0
        self.model.change_state("closed")
        self.breaker.reset("by hand")

    @invariant()
    def breaker_and_model_are_in_the_same_state(self):
        state = self.breaker.state
        if self.model.state == "open":
            assert state in (BreakerState.OPEN, BreakerState.HALF_OPEN)
        else:
            expected = {"closed": BreakerState.CLOSED, "half": BreakerState.HALF_OPEN}
            assert state is expected[self.model.state]


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
