"""Calls under a policy: retries, waits, breaker, deadline and cancellation, under a fake clock."""

import asyncio
import contextlib
import pickle

import pytest

from synccash.resilience.circuit_breaker import BreakerSettings, BreakerState, CircuitBreaker
from synccash.resilience.deadline import deadline, remaining
from synccash.resilience.errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
)
from synccash.resilience.evidence import Evidence
from synccash.resilience.policy import Policy
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import FailureCause, Outcome, Verdict


class SleepClock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def policy(time: SleepClock, name: str = "rail", **parts) -> Policy:
    return Policy(name, clock=time, sleep=time.sleep, random=lambda: 0.999_999, **parts)


class Flaky:
    """Raises the given exceptions one after another, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


LOST = OSError("lost")
CALL_VARIANTS = pytest.mark.parametrize(
    "total",
    [{}, {"total_timeout": 1_000.0, "interrupt": False}, {"total_timeout": 1_000.0}],
    ids=["no total time-out", "not interrupting", "interrupting"],
)
"""A policy builds one of several call functions from its parts; these tests run on each of them."""


async def test_a_policy_retries_with_growing_waits_and_returns_the_result():
    time, flaky = SleepClock(), Flaky(LOST, LOST)
    p = policy(time, retry=Retry(attempts=3, base=2.0, cap=30.0, on=OSError))
    assert await p.call(flaky) == "done"
    assert [round(s, 2) for s in time.slept] == [2.0, 4.0]


async def test_the_last_error_is_raised_with_a_note_about_the_attempts():
    time, flaky = SleepClock(), Flaky(OSError("first"), OSError("last"))
    p = policy(time, retry=Retry(attempts=2, base=1.0, on=OSError))
    with pytest.raises(OSError, match="last") as caught:
        await p.call(flaky)
    assert caught.value.__notes__ == ["rail: gave up after 2 attempts in 1.00 s: the limit is 2 attempts"]


@CALL_VARIANTS
async def test_breaker_and_budget_count_each_success_and_failure_once(total):
    time, breaker = SleepClock(), CircuitBreaker("rail", BreakerSettings())
    p = policy(time, retry=Retry(on=OSError), breaker=breaker, **total)
    for failures in ((), (LOST,), (ValueError("ours"),)):
        with contextlib.suppress(ValueError):
            assert await p.call(Flaky(*failures)) == "done"
    seen, budget = breaker.statistics(), p.budget.statistics()
    assert (seen.successes, seen.failures, sum(seen.durations)) == (2, 2, 4)
    assert (budget.successes, budget.failures, budget.retries, budget.last_attempts) == (2, 1, 1, 1)


@CALL_VARIANTS
async def test_a_slow_call_counts_as_slow(total):
    time = SleepClock()
    settings = BreakerSettings(failures=None, slow_rate=1.0, slow_s=5.0, min_calls=1)
    p = policy(time, breaker=CircuitBreaker("rail", settings, clock=time), **total)
    await p.call(time.sleep, 5.0)
    assert p.breaker is not None
    assert p.breaker.state is BreakerState.OPEN


async def test_an_exception_that_on_does_not_name_is_not_retried():
    flaky = Flaky(ValueError("our own mistake"))
    with pytest.raises(ValueError, match="our own"):
        await policy(SleepClock(), retry=Retry(on=OSError)).call(flaky)
    assert flaky.calls == 1


async def test_returned_values_are_classified_and_the_last_one_is_returned():
    answers = iter([503, 503, 503])

    async def ask() -> int:
        return next(answers)

    time = SleepClock()
    p = policy(time, retry=Retry(attempts=3), classify=lambda r: Verdict(Outcome.FAILED, retry=r == 503))
    assert await p.call(ask) == 503
    assert len(time.slept) == 2


async def test_an_ambiguous_attempt_is_repeated_only_if_the_policy_is_idempotent():
    def unclear(result: object) -> Verdict:
        failed = isinstance(result, BaseException)
        return Verdict(Outcome.FAILED if failed else Outcome.OK, retry=failed, evidence=Evidence.AMBIGUOUS)

    once, twice = Flaky(LOST), Flaky(LOST)
    with pytest.raises(OSError, match="lost"):
        await policy(SleepClock(), retry=Retry(), classify=unclear).call(once)
    assert await policy(SleepClock(), retry=Retry(), classify=unclear, idempotent=True).call(twice) == "done"
    assert (once.calls, twice.calls) == (1, 2)


async def test_the_wait_is_at_least_the_verdicts_retry_after():
    time = SleepClock()
    p = policy(
        time,
        retry=Retry(base=1.0),
        classify=lambda r: (
            Verdict(Outcome.FAILED if isinstance(r, Exception) else Outcome.OK, retry=True, retry_after=9.0)
            if isinstance(r, Exception)
            else Verdict(Outcome.OK)
        ),
    )
    assert await p.call(Flaky(LOST)) == "done"
    assert time.slept == [9.0]


async def test_no_wait_starts_that_would_end_after_the_deadline():
    time, flaky = SleepClock(), Flaky(LOST, LOST)
    p = policy(
        time, retry=Retry(attempts=5, base=4.0, cap=60.0, on=OSError), total_timeout=10.0, interrupt=False
    )
    with pytest.raises(OSError, match="lost") as caught:
        await p.call(Flaky(LOST, LOST, LOST))
    assert "would start after the deadline" in caught.value.__notes__[-1]
    assert time.now < 10.0
    assert flaky.calls == 0


@CALL_VARIANTS
async def test_a_breaker_that_opens_ends_the_call_with_its_last_error(total):
    time = SleepClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=2), clock=time)
    p = policy(time, retry=Retry(attempts=5, base=1.0, on=OSError), breaker=breaker, **total)
    flaky = Flaky(LOST, LOST, LOST)
    with pytest.raises(OSError, match="lost"):
        await p.call(flaky)
    assert flaky.calls == 2
    with pytest.raises(CircuitOpenError):
        await p.call(flaky)
    assert flaky.calls == 2


async def test_an_ungated_policy_shares_the_breaker_and_is_never_refused():
    time = SleepClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=1), clock=time)
    gated, ungated = policy(time, breaker=breaker), policy(time, breaker=breaker, gated=False)
    with pytest.raises(OSError, match="lost"):
        await ungated.call(Flaky(LOST))
    assert breaker.state is BreakerState.OPEN
    assert await ungated.call(Flaky()) == "done"
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(CircuitOpenError):
        await gated.call(Flaky())


async def test_a_success_of_an_ungated_policy_closes_a_breaker_after_its_open_time():
    time = SleepClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=1), clock=time)
    ungated = policy(time, breaker=breaker, gated=False)
    with pytest.raises(OSError, match="lost"):
        await ungated.call(Flaky(LOST))
    time.now = 60.0
    assert await ungated.call(Flaky()) == "done"
    assert breaker.state is BreakerState.CLOSED


async def test_an_ungated_call_is_not_counted_as_refused():
    time = SleepClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=1), clock=time)
    ungated = policy(time, breaker=breaker, gated=False)
    with pytest.raises(OSError, match="lost"):
        await ungated.call(Flaky(LOST))
    time.now = 60.0
    held = breaker.acquire()
    assert await ungated.call(Flaky()) == "done"
    breaker.release(held)
    assert breaker.statistics().blocked == 0


async def test_the_cause_of_a_verdict_is_the_reason_and_the_last_failure_of_a_breaker():
    cause = FailureCause("timeout", "no answer in time")
    breaker = CircuitBreaker(
        "rail", BreakerSettings(failures=1), clock=SleepClock(), wall_clock=lambda: 1_700_000_000.0
    )
    p = Policy("rail", breaker=breaker, classify=lambda _: Verdict(Outcome.FAILED, cause=cause))
    await p.call(Flaky())
    failure = breaker.statistics().last_failure
    assert (failure.type, failure.message) == ("timeout", "no answer in time")
    assert failure.at == 1_700_000_000.0
    assert breaker.reason == "1 failures in a row; last: timeout: no answer in time"


def test_verdicts_that_differ_in_their_cause_alone_are_equal():
    assert Verdict(Outcome.FAILED, cause=FailureCause("a", "b")) == Verdict(Outcome.FAILED)


@CALL_VARIANTS
async def test_a_cancelled_call_frees_its_probe_slot(total):
    time = SleepClock()
    breaker = CircuitBreaker("rail", BreakerSettings(failures=1), clock=time)
    p = policy(time, breaker=breaker, **total)
    with pytest.raises(OSError, match="lost"):
        await p.call(Flaky(LOST))
    time.now = 60.0
    under_way = asyncio.Event()

    async def hang() -> None:
        under_way.set()
        await asyncio.Event().wait()

    probe = asyncio.create_task(p.call(hang))
    await under_way.wait()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await p.call(Flaky()) == "done"
    assert breaker.state is BreakerState.CLOSED


async def test_an_attempt_over_its_time_limit_is_interrupted_and_counts_as_a_failure():
    breaker = CircuitBreaker("rail", BreakerSettings(failures=1))
    p = Policy("rail", breaker=breaker, attempt_timeout=0.01)
    with pytest.raises(AttemptTimeoutError, match=r"interrupted after 0\.01 s"):
        await p.call(asyncio.Event().wait)
    assert breaker.state is BreakerState.OPEN


async def test_without_interruption_the_function_can_read_its_remaining_time():
    time = SleepClock()
    seen: list[float | None] = []

    async def look() -> None:
        seen.append(remaining())
        with deadline(100.0, clock=time):
            seen.append(remaining())

    await policy(time, total_timeout=8.0, attempt_timeout=5.0, interrupt=False).call(look)
    assert seen == [5.0, 5.0]
    assert remaining() is None


@CALL_VARIANTS
async def test_no_attempt_starts_after_an_outer_deadline(total):
    time, flaky = SleepClock(), Flaky()
    with deadline(0.0, clock=time), pytest.raises(DeadlineExceededError, match="after 0 attempts"):
        await policy(time, breaker=BreakerSettings(), **total).call(flaky)
    assert flaky.calls == 0


def test_a_retry_without_on_or_classify_is_refused():
    with pytest.raises(ValueError, match="what is retryable"):
        Policy("rail", retry=Retry())


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpenError("rail", 3.0, "why"),
        BulkheadFullError("rail", 10, 2),
        DeadlineExceededError("rail", 2),
        AttemptTimeoutError("rail", 1.5),
    ],
)
def test_errors_keep_their_fields_when_pickled(error: Exception):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (type(error), str(error), error.__dict__)


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        ("exponential", [2, 4, 8, 10]),
        ("linear", [2, 4, 6, 8]),
        ("fixed", [2, 2, 2, 2]),
        ("immediate", [0, 0, 0, 0]),
    ],
)
def test_each_strategy_computes_its_waits(strategy, waits: list[float]):
    retry = Retry(base=2.0, cap=10.0, strategy=strategy, jitter="none", on=OSError)
    assert [retry.delay(failed, 0.5) for failed in (1, 2, 3, 4)] == waits


def test_jitter_spreads_waits_over_the_whole_or_half_of_the_delay():
    whole, half = Retry(base=2.0, on=OSError), Retry(base=2.0, jitter="equal", on=OSError)
    assert [whole.delay(1, c) for c in (0.0, 0.5)] == [0.0, 1.0]
    assert [half.delay(1, c) for c in (0.0, 0.5)] == [1.0, 1.5]
