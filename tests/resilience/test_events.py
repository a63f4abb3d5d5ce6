"""The hook `on_event`: which events it is given, where it runs, and what its exceptions do."""

import asyncio
import dataclasses
import logging

import pytest

from resilience.test_locks import run_in_thread, use_everything
from synccash.resilience import (
    AttemptTimeoutError,
    BreakerSettings,
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    CircuitOpenError,
    DeadlineExceededError,
    Outcome,
    Policy,
    Retry,
    Verdict,
)
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.deadline import deadline
from synccash.resilience.errors import RateExceededError
from synccash.resilience.events import (
    AttemptTimedOut,
    BulkheadFull,
    CallFailed,
    CallRecovered,
    CallRefused,
    DeadlinePassed,
    Event,
    RateExceeded,
    RetryScheduled,
    Transition,
)
from synccash.resilience.profiles import PROFILES
from synccash.resilience.providers import EnhancedRetryService
from synccash.resilience.rate import Rate
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock, replaced_registry

TWICE = Retry(attempts=2, base=2.0, jitter="none", on=OSError)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(events, clock):
    def policy(**parts) -> Policy:
        given = {"retry": TWICE, "on_event": events.append} | parts
        return Policy("rates", clock=clock, sleep=clock.sleep, sleep_sync=clock.sleep_sync, **given)

    return policy


class Flaky:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def call(self) -> str:
        return self()


RECOVERED = [
    RetryScheduled(name="rates", attempt=1, error="ConnectionError", wait_s=2.0),
    CallRecovered(name="rates", attempts=2, seconds=2.0),
]


async def test_every_form_of_a_call_tells_of_its_retries(make, events):
    policy = make()
    flaky = Flaky(ConnectionError())
    assert await policy.call(flaky.call) == "done"
    assert events == RECOVERED
    assert policy.call_sync(Flaky(ConnectionError())) == "done"
    assert events == RECOVERED * 2
    assert policy(Flaky(ConnectionError()))() == "done"
    assert events == RECOVERED * 3
    in_block = Flaky(ConnectionError())
    async for attempt in policy.attempts():
        async with attempt:
            in_block()
    assert events == RECOVERED * 4


def test_a_call_that_succeeds_at_once_makes_no_event(make, events):
    assert make().call_sync(Flaky()) == "done"
    assert make(retry=None, classify=lambda result: Verdict(Outcome.OK)).call_sync(Flaky()) == "done"
    assert events == []


def test_giving_up_says_why(make, events):
    with pytest.raises(ConnectionError):
        make().call_sync(Flaky(ConnectionError(), ConnectionError()))
    with pytest.raises(ValueError, match="odd"):
        make(retry=None).call_sync(Flaky(ValueError("odd")))
    assert events[1:] == [
        CallFailed(
            name="rates",
            attempts=2,
            seconds=2.0,
            error="ConnectionError",
            reason="the limit is 2 attempts",
            retryable=True,
        ),
        CallFailed(
            name="rates",
            attempts=1,
            seconds=0.0,
            error="ValueError",
            reason="the failure is not retryable",
            retryable=False,
        ),
    ]


def test_a_returned_failure_has_no_error(make, events):
    policy = make(
        retry=Retry(attempts=2, strategy="immediate"), classify=lambda _: Verdict(Outcome.FAILED, retry=True)
    )
    assert policy.call_sync(Flaky()) == "done"
    assert [(type(event), event.error) for event in events] == [(RetryScheduled, None), (CallFailed, None)]


def test_the_policys_own_breaker_tells_its_transitions_and_refusals(make, events):
    policy = make(retry=None, breaker=BreakerSettings(failures=1, open_s=5.0), random=lambda: 0.0)
    with pytest.raises(ConnectionError):
        policy.call_sync(Flaky(ConnectionError("down")))
    opened, failed = events
    assert isinstance(opened, Transition)
    assert (opened.name, opened.after, opened.open_s) == ("rates", BreakerState.OPEN, 5.0)
    assert isinstance(failed, CallFailed)
    with pytest.raises(CircuitOpenError):
        policy.call_sync(Flaky())
    assert events[2:] == [CallRefused(name="rates", reason=policy.breaker.reason, retry_after=5.0)]


def test_a_shared_breaker_tells_its_own_listeners_alone(make, events):
    heard: list[Event] = []
    shared = CircuitBreaker("shared")
    shared.listen(heard.append)
    make(breaker=shared)
    shared.force_open("maintenance")
    assert events == []
    assert [type(event) for event in heard] == [Transition]


async def test_timeouts_of_the_policy_and_of_the_function(make, events, clock):
    policy = make(retry=None, attempt_timeout=1.0)
    with pytest.raises(AttemptTimeoutError):
        await policy.call(clock.sleep, 3.0)
    with pytest.raises(TimeoutError):
        await policy.call(Flaky(TimeoutError()).call)
    found = [event for event in events if isinstance(event, AttemptTimedOut)]
    assert found == [
        AttemptTimedOut(name="rates", attempt=1, error="AttemptTimeoutError", seconds=1.0),
        AttemptTimedOut(name="rates", attempt=1, error="TimeoutError", seconds=0.0),
    ]


def test_a_full_bulkhead_an_exceeded_rate_and_a_passed_deadline(make, events, clock):
    full = make(retry=None, bulkhead=Bulkhead(limit=1))
    with pytest.raises(BulkheadFullError):
        full.call_sync(lambda: full.call_sync(Flaky()))
    assert events[0] == BulkheadFull(name="rates", attempt=1, limit=1, queue=0)
    events.clear()
    outer = Policy("outer", bulkhead=Bulkhead(limit=5), on_event=events.append)
    with pytest.raises(BulkheadFullError):
        outer.call_sync(full.call_sync, lambda: full.call_sync(Flaky()))
    told = [event.name for event in events if isinstance(event, BulkheadFull)]
    assert told == ["rates"], "the bulkhead that is full tells it, and not the policy around it"
    events.clear()
    fast = make(retry=None, rate=Rate("1/s", wait_s=0.5))
    fast.call_sync(Flaky())
    with pytest.raises(RateExceededError):
        fast.call_sync(Flaky())
    assert events[0] == RateExceeded(name="rates", attempt=1, retry_after=1.0, queue=0)
    events.clear()
    with deadline(1.0, clock=clock):
        clock.move(2.0)
        with pytest.raises(DeadlineExceededError):
            make(retry=None).call_sync(Flaky())
    assert events == [DeadlinePassed(name="rates")]


def test_events_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DeadlinePassed(name="rates").name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def broken(event: Event) -> None:
    raise RuntimeError(f"hook: {type(event).__name__}")


async def test_an_exception_of_the_hook_is_logged_and_changes_nothing(make, caplog):
    caplog.set_level(logging.ERROR, "synccash.resilience")
    policy = make(on_event=broken, breaker=BreakerSettings(failures=2), bulkhead=Bulkhead(limit=1))
    flaky = Flaky(ConnectionError())
    assert await policy.call(flaky.call) == "done"
    lost = ConnectionError("lost")
    with pytest.raises(ConnectionError) as raised:
        policy.call_sync(Flaky(lost, lost))
    assert raised.value is lost
    with pytest.raises(CircuitOpenError):
        policy.call_sync(Flaky())
    assert policy.budget.statistics().exhausted == 1
    assert policy._parts.bulkhead.in_use == 0
    seen = [str(record.exc_info[1]).removeprefix("hook: ") for record in caplog.records]
    assert seen == [
        "RetryScheduled",
        "CallRecovered",
        "RetryScheduled",
        "Transition",
        "CallFailed",
        "CallRefused",
    ]


def test_no_lock_is_held_while_a_hook_runs(make, clock):
    seen: list[type[Event]] = []

    def hook(event: Event) -> None:
        seen.append(type(event))
        run_in_thread(lambda: use_everything(policy))

    policy = make(
        on_event=hook,
        retry=TWICE,
        breaker=BreakerSettings(failures=2),
        bulkhead=Bulkhead(limit=1),
        rate=Rate("1/s", wait_s=0.5),
    )
    with pytest.raises(RateExceededError):
        policy.call_sync(lambda: policy.call_sync(Flaky()))
    clock.move(1.0)
    with pytest.raises(ConnectionError):
        policy.call_sync(Flaky(ConnectionError(), ConnectionError()))
    with pytest.raises(CircuitOpenError):
        policy.call_sync(Flaky())
    assert {RateExceeded, RetryScheduled, CallFailed, Transition, CallRefused} <= set(seen)


def test_a_hook_that_cannot_be_called_is_refused_at_once():
    async def hook(event: Event) -> None: ...

    class Hook:
        async def __call__(self, event: Event) -> None: ...

    for wrong in (hook, Hook(), "print"):
        with pytest.raises(TypeError, match="on_event must be a plain function"):
            Policy("rates", on_event=wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match="on_event must be a plain function"):
            Registry(on_event=wrong)  # pyright: ignore[reportArgumentType]


async def test_the_hook_of_a_registry_gets_the_events_of_its_policies_and_breakers(events):
    registry = Registry(on_event=events.append)

    async def down(data: object) -> None:
        raise ConnectionResetError

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await EnhancedRetryService(registry).retry_payment_provider_call(down, "momo:collect", {})
    assert [type(event) for event in events] == [CallFailed, CallFailed, Transition, CallFailed]
    registry.on_event = None
    registry.breaker("momo:collect").reset()
    assert len(events) == 4
    registry.on_event = events.append
    registry.reload(PROFILES)
    with pytest.raises(ConnectionResetError):
        await registry.policy("momo:collect").call(down, None)
    assert type(events[-1]) is CallFailed


def test_the_default_registry_takes_a_hook_of_its_replacement_for_a_block(events):
    with replaced_registry() as registry:
        registry.on_event = events.append
        registry.breaker("momo:collect").force_open("test")
    assert [type(event) for event in events] == [Transition]


async def test_a_cancelled_call_makes_no_event(make, events):
    policy = make(breaker=BreakerSettings())
    running = asyncio.create_task(policy.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert events == []
