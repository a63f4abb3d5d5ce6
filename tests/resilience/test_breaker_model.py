"""The breaker against a naive model of it, over a clock that a machine moves."""

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
    """What the settings say, in lists: slow, and easy to believe."""

    def __init__(self):
        self.state, self.calls, self.row = "closed", [], 0
        self.era, self.until, self.rounds = 0, 0.0, 0
        self.probes, self.proven = {}, 0

    def enter(self, now):
        if self.state == "open" and now >= self.until:
            self.turn("half")
        if self.state == "closed":
            return ("call", self.era)
        if self.state == "half":
            self.probes = {k: v for k, v in self.probes.items() if now - v < SETTINGS.probe_hold_s}
            if not self.probes:
                ticket = ("probe", self.era, len(self.probes), now)
                self.probes[ticket] = now
                return ticket
        return None

    def turn(self, state):
        self.state, self.calls, self.row = state, [], 0
        self.era += 1
        self.probes, self.proven = {}, 0

    def open(self, now):
        self.until = now + min(30.0, 10.0 * 2.0**self.rounds)
        self.rounds += 1
        self.turn("open")

    def leave(self, ticket, outcome, seconds, now):
        if ticket[0] == "probe":
            if self.probes.pop(ticket, None) is None or ticket[1] != self.era:
                return
            # Where slow calls open it, a slow probe is no recovery.
            if outcome is Outcome.FAILED or (outcome is Outcome.OK and seconds >= SETTINGS.slow_s):
                self.open(now)
            elif outcome is Outcome.OK:
                self.proven += 1
                if self.proven == 2:
                    self.rounds = 0
                    self.turn("closed")
            return
        if ticket[1] != self.era or self.state != "closed" or outcome is Outcome.IGNORED:
            return
        failed, slow = outcome is Outcome.FAILED, seconds >= SETTINGS.slow_s
        self.calls = [*self.calls, (failed, slow)][-6:]
        self.row = self.row + 1 if failed else 0
        enough = len(self.calls) >= 4
        bad = sum(f for f, _ in self.calls) >= 0.5 * len(self.calls)
        sluggish = sum(s for _, s in self.calls) >= 0.8 * len(self.calls)
        if (failed or slow) and (self.row >= 3 or (enough and (bad or sluggish))):
            self.open(now)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.breaker = CircuitBreaker("rail", SETTINGS, clock=self.clock, random=lambda: 0.0)
        self.model = Model()
        self.running = []

    @rule()
    def enter(self):
        meant = self.model.enter(self.clock.now)
        if meant is None:
            with pytest.raises(CircuitOpenError) as refused:
                self.breaker.enter()
            assert refused.value.retry_after >= 0
        else:
            self.running.append((self.breaker.enter(), meant))

    @rule(
        data=st.data(),
        outcome=st.sampled_from([Outcome.OK, Outcome.FAILED, Outcome.FAILED, Outcome.IGNORED]),
        seconds=st.sampled_from([0.1, 1.9, 2.0, 7.0]),
    )
    def leave(self, data, outcome, seconds):
        if not self.running:
            return
        ticket, meant = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.model.leave(meant, outcome, seconds, self.clock.now)
        self.breaker.leave(ticket, outcome, seconds)

    @rule(data=st.data())
    def cancel(self, data):
        if not self.running:
            return
        ticket, meant = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.model.probes.pop(meant, None)
        self.breaker.drop(ticket)

    @rule(seconds=st.sampled_from([0.5, 4.9, 5.0, 10.0, 30.0]))
    def wait(self, seconds):
        self.clock.move(seconds)

    @rule()
    def reset(self):
        self.model.rounds = 0
        self.model.turn("closed")
        self.breaker.reset("by hand")

    @invariant()
    def both_are_in_the_same_state(self):
        state = self.breaker.state
        if self.model.state == "open":
            assert state in (BreakerState.OPEN, BreakerState.HALF_OPEN)
        else:
            expected = {"closed": BreakerState.CLOSED, "half": BreakerState.HALF_OPEN}
            assert state is expected[self.model.state]


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
