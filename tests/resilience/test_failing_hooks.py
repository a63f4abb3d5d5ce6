"""A policy handles classifiers that raise, exceptions that accept no note, and deadlines of other clocks."""

import logging
from dataclasses import dataclass
from math import inf

import pytest

from synccash.resilience import BreakerSettings, Outcome, Policy, Retry, Verdict, remaining
from synccash.resilience.circuit_breaker import BreakerState, CircuitBreaker
from synccash.resilience.deadline import deadline
from synccash.resilience.testing import FakeClock


def half_open(clock: FakeClock) -> CircuitBreaker:
    breaker = CircuitBreaker(
        "rates", BreakerSettings(failures=1, open_s=1.0), clock=clock, random=lambda: 0.0
    )
    breaker.record(breaker.acquire(), Outcome.FAILED, 0.1)
    clock.move(1.0)
    return breaker


def lost(error: Exception | None = None) -> None:
    raise error or OSError("lost")


async def alost() -> None:
    lost()


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"classify": lambda result: None}, "rates: classify must return a Verdict"),
        ({"retry": Retry(on=lambda error: error.nothing)}, "nothing"),
    ],
)
async def test_a_classifier_that_raises_releases_its_probe_slot(hooks, message):
    clock = FakeClock()
    breaker = half_open(clock)
    policy = Policy("rates", breaker=breaker, clock=clock, **hooks)
    for _ in range(2):
        with pytest.raises((TypeError, AttributeError), match=message):
            policy.call_sync(lost)
        with pytest.raises((TypeError, AttributeError), match=message):
            await policy.call(alost)
    assert breaker.statistics().probes_running == 0


@dataclass(frozen=True)
class FrozenError(Exception):
    """An exception class to which no note can be added."""

    code: int


def test_an_error_that_accepts_no_note_is_raised_unchanged():
    policy = Policy("rates", retry=Retry(attempts=2, base=0.0, on=FrozenError))
    with pytest.raises(FrozenError) as raised:
        policy.call_sync(lost, FrozenError(7))
    assert raised.value.code == 7


async def test_a_block_without_an_exception_is_a_success_whatever_the_classifier_says():
    runs = []

    def nothing_is_a_failure(result: object) -> Verdict:
        return Verdict(Outcome.FAILED, retry=True) if result is None else Verdict(Outcome.OK)

    policy = Policy("rates", retry=Retry(base=0.0), classify=nothing_is_a_failure)
    async for attempt in policy.attempts():
        async with attempt as number:
            runs.append(number)
    assert (runs, policy.budget.statistics().successes) == ([1], 1)


def test_an_infinite_retry_after_ends_the_call():
    clock = FakeClock()
    policy = Policy(
        "rates",
        retry=Retry(base=0.0),
        classify=lambda result: Verdict(Outcome.FAILED, retry=True, retry_after=inf),
        clock=clock,
        sleep_sync=clock.sleep_sync,
    )
    assert (policy.call_sync(lambda: "busy"), clock.slept) == ("busy", [])


@pytest.mark.parametrize(("outer_at", "inner_at"), [(0.0, 1e9), (1e9, 0.0)])
def test_a_deadline_has_the_same_remaining_time_on_another_clock(outer_at, inner_at):
    outer_clock, inner_clock = FakeClock(outer_at), FakeClock(inner_at)
    outer = Policy("outer", total_timeout=5.0, interrupt=False, clock=outer_clock)
    inner = Policy("inner", total_timeout=60.0, interrupt=False, clock=inner_clock)

    def later() -> float | None:
        outer_clock.move(2.0)
        with deadline(60.0, clock=inner_clock):
            return inner.call_sync(remaining)

    assert outer.call_sync(later) == 3.0


def test_a_log_handler_that_raises_changes_no_call_and_keeps_no_probe_slot(capsys):
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("disk full")

    clock, handler, log = FakeClock(), Broken(), logging.getLogger("synccash.resilience")
    policy = Policy("rates", retry=Retry(on=OSError), breaker=BreakerSettings(failures=1), clock=clock)
    log.addHandler(handler)
    try:
        with pytest.raises(OSError, match="lost"):
            policy.call_sync(lost)
        clock.move(60.0)
        assert policy.call_sync(int) == 0
    finally:
        log.removeHandler(handler)
    assert policy.breaker is not None
    assert policy.breaker.state is BreakerState.CLOSED
    assert "disk full" in capsys.readouterr().err
