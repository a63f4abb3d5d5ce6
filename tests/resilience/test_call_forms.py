"""One table of cases, run over every form of a call: they all have the same semantics."""

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from synccash.resilience import (
    BreakerSettings,
    Budget,
    Bulkhead,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    Evidence,
    Outcome,
    Policy,
    Retry,
    Verdict,
    remaining,
)
from synccash.resilience.deadline import deadline
from synccash.resilience.errors import RateExceededError
from synccash.resilience.rate import Rate
from synccash.resilience.testing import FakeClock

Body = Callable[[], Any]


async def call(policy: Policy, body: Body) -> Any:
    async def fn() -> Any:
        return body()

    return await policy.call(fn)


async def decorated(policy: Policy, body: Body) -> Any:
    @policy
    async def fn() -> Any:
        return body()

    return await fn()


async def block(policy: Policy, body: Body) -> Any:
    async for attempt in policy.attempts():
        async with attempt:
            result = body()
    return result


async def block_sync(policy: Policy, body: Body) -> Any:
    for attempt in policy.attempts():
        with attempt:
            result = body()
    return result


async def block_in_thread(policy: Policy, body: Body) -> Any:
    return await asyncio.to_thread(_run_block, policy, body)


def _run_block(policy: Policy, body: Body) -> Any:
    for attempt in policy.attempts():
        with attempt as number:
            result = body()
            assert number == attempt.number
    return result


async def call_sync(policy: Policy, body: Body) -> Any:
    return policy.call_sync(body)


async def decorated_sync(policy: Policy, body: Body) -> Any:
    return policy(lambda: body())()


async def thread(policy: Policy, body: Body) -> Any:
    return await asyncio.to_thread(policy.call_sync, body)


FORMS = (call, decorated, block, block_sync, block_in_thread, call_sync, decorated_sync, thread)


class NoRowsError(OSError):
    """An exception that is false, as one with an empty sequence of rows may be."""

    def __len__(self) -> int:
        return 0


class HttpError(Exception):
    """Has the shape of httpx.HTTPStatusError and requests.HTTPError."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.response = type("Response", (), {"status_code": status})


class AbortError(BaseException):
    """Like a cancellation, no Exception."""


def judge(result: object) -> Verdict:
    """Everything but a failure with evidence is fine."""
    if isinstance(result, OSError):
        return Verdict(Outcome.FAILED, retry=True, evidence=Evidence.AMBIGUOUS)
    return Verdict(Outcome.OK)


def ask_for_a_wait(seconds: float) -> Callable[[object], Verdict]:
    def classify(result: object) -> Verdict:
        failed = isinstance(result, Exception)
        return Verdict(Outcome.FAILED, retry=True, retry_after=seconds) if failed else Verdict(Outcome.OK)

    return classify


@dataclass(frozen=True, kw_only=True)
class Case:
    """`script`: what the attempts raise or return, one after another; a function is called with the clock.

    `breaker`: expected successes, failures and ignored calls; `budget`: successes, failures, exhausted calls
    and retries; `waits`: the times slept.
    """

    parts: dict[str, Any]
    script: list[Any]
    result: Any = None
    attempts: int = 1
    waits: list[float] = field(default_factory=list[float])
    breaker: tuple[int, int, int] | None = None
    budget: tuple[int, int, int, int] | None = None
    note: str = ""
    state: str = "closed"
    before: Callable[[Policy, FakeClock], object] | None = None
    within_s: float | None = None
    while_waiting: Callable[[Policy], object] | None = None
    held: bool = False


LOST = OSError("lost")
TWICE = Retry(attempts=2, base=2.0, jitter="none", on=OSError)
CASES = {
    "a success": Case(
        parts={"breaker": BreakerSettings()},
        script=["ok"],
        result="ok",
        breaker=(1, 0, 0),
        budget=(1, 0, 0, 0),
    ),
    "a retried failure": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings()},
        script=[LOST, "ok"],
        result="ok",
        attempts=2,
        waits=[2.0],
        breaker=(1, 1, 0),
        budget=(1, 0, 0, 1),
    ),
    "the last failure": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings()},
        script=[LOST, ConnectionResetError()],
        result=ConnectionResetError,
        attempts=2,
        waits=[2.0],
        breaker=(0, 2, 0),
        budget=(0, 0, 1, 1),
        note="gave up after 2 attempts in 2.00 s: the limit is 2 attempts",
    ),
    "a failure that is not retryable": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings()},
        script=[ValueError()],
        result=ValueError,
        breaker=(0, 1, 0),
        budget=(0, 1, 0, 0),
    ),
    "a bug of our own": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings(failures=1)},
        script=[KeyError("missing")],
        result=KeyError,
        breaker=(0, 0, 1),
    ),
    "a 404": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings(failures=1)},
        script=[HttpError(404)],
        result=HttpError,
        breaker=(1, 0, 0),
    ),
    "a 503": Case(
        parts={"breaker": BreakerSettings(failures=1)},
        script=[HttpError(503)],
        result=HttpError,
        breaker=(0, 1, 0),
        state="open",
    ),
    "a failure that `count` leaves out": Case(
        parts={"breaker": BreakerSettings(failures=1, count=ConnectionError)},
        script=[ValueError()],
        result=ValueError,
        breaker=(0, 0, 1),
    ),
    "a failure that `count` selects": Case(
        parts={"breaker": BreakerSettings(failures=1, count=lambda error: isinstance(error, KeyError))},
        script=[KeyError()],
        result=KeyError,
        breaker=(0, 1, 0),
        state="open",
    ),
    "a failure for `classify` that `count` leaves out": Case(
        parts={"breaker": BreakerSettings(failures=1, count=ConnectionError), "classify": judge},
        script=[LOST],
        result=OSError,
        breaker=(0, 0, 1),
    ),
    "an attempt that opens the breaker": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings(failures=1)},
        script=[LOST],
        result=OSError,
        breaker=(0, 1, 0),
        state="open",
        note="the circuit breaker is open",
    ),
    "a false exception, and a breaker that opens during the wait": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings()},
        script=[NoRowsError()],
        result=NoRowsError,
        waits=[2.0],
        state="open",
        while_waiting=lambda policy: policy.breaker.adopt(9.0, "a peer"),
        note="the circuit breaker is open",
    ),
    "a false exception, and a wait that ends after the deadline": Case(
        parts={"retry": TWICE, "total_timeout": 3.0},
        script=[lambda clock: raise_after(clock, 1.5, NoRowsError())],
        result=NoRowsError,
        note="would start after the deadline",
    ),
    "an open breaker": Case(
        parts={"breaker": BreakerSettings()},
        script=[],
        result=CircuitOpenError,
        attempts=0,
        state="open",
        before=lambda policy, clock: policy.breaker.adopt(9.0, "a peer"),
    ),
    "an aborted probe": Case(
        parts={"breaker": BreakerSettings(failures=1, open_s=1.0)},
        script=[AbortError()],
        result=AbortError,
        breaker=(0, 1, 0),
        state="half_open",
        before=lambda policy, clock: (
            policy.breaker.observe(Outcome.FAILED, 0.1),
            clock.move(2.0),
        ),
    ),
    "a bulkhead that stays full": Case(
        parts={
            "retry": Retry(attempts=3, base=1.0, strategy="fixed", jitter="none", on=BulkheadFullError),
            "breaker": BreakerSettings(failures=1),
            "bulkhead": Bulkhead(limit=1),
        },
        script=[],
        result=BulkheadFullError,
        attempts=0,
        waits=[1.0, 1.0],
        breaker=(1, 0, 3),
        held=True,
        note="gave up after 3 attempts in 2.00 s",
    ),
    "a turn for each attempt": Case(
        parts={"retry": TWICE, "breaker": BreakerSettings(), "rate": Rate("1/5s")},
        script=[LOST, "ok"],
        result="ok",
        attempts=2,
        waits=[2.0, 3.0],
        breaker=(1, 1, 0),
        budget=(1, 0, 0, 1),
    ),
    "a turn that comes after the deadline": Case(
        parts={"breaker": BreakerSettings(), "rate": Rate("1/5s"), "total_timeout": 4.0},
        script=[],
        result=RateExceededError,
        attempts=0,
        breaker=(0, 0, 1),
        before=lambda policy, clock: policy.rate.acquire_sync(),
    ),
    "a turn that comes too late, and a retry": Case(
        parts={
            "retry": Retry(attempts=2, base=4.0, strategy="fixed", jitter="none", on=RateExceededError),
            "rate": Rate("1/5s", wait_s=2.0),
        },
        script=["ok"],
        result="ok",
        waits=[4.0, 1.0],
        before=lambda policy, clock: policy.rate.acquire_sync(),
    ),
    "an effect that is unknown": Case(
        parts={"retry": Retry(), "classify": judge}, script=[LOST], result=OSError, budget=(0, 1, 0, 0)
    ),
    "an effect that is unknown, of an idempotent call": Case(
        parts={"retry": Retry(jitter="none"), "classify": judge, "idempotent": True},
        script=[LOST, "ok"],
        result="ok",
        attempts=2,
        waits=[0.5],
    ),
    "a wait that the dependency asks for": Case(
        parts={"retry": Retry(attempts=2), "classify": ask_for_a_wait(60.0)},
        script=[LOST, "ok"],
        result="ok",
        attempts=2,
        waits=[60.0],
    ),
    "a wait of a day that the dependency asks for": Case(
        parts={
            "retry": Retry(attempts=2),
            "classify": ask_for_a_wait(86_400.0),
            "breaker": BreakerSettings(failures=1, open_max_s=300.0),
        },
        script=[LOST],
        result=OSError,
        state="open",
    ),
    "a wait longer than retry_after_cap": Case(
        parts={"retry": Retry(attempts=2, retry_after_cap=5.0), "classify": ask_for_a_wait(6.0)},
        script=[LOST],
        result=OSError,
        note="the dependency asked to wait 6.0 s, more than retry_after_cap",
    ),
    "time left of an attempt": Case(
        parts={"attempt_timeout": 1.0, "total_timeout": 5.0, "retry": TWICE},
        script=[lambda clock: raise_after(clock, 4.0, LOST), lambda clock: remaining()],
        result=OSError,
        note="would start after the deadline",
    ),
    "time left, read by the attempt": Case(
        parts={"attempt_timeout": 1.0}, script=[lambda clock: remaining()], result=1.0
    ),
    "time left until the caller's deadline": Case(
        parts={"attempt_timeout": 1.0}, script=[lambda clock: remaining()], result=0.5, within_s=0.5
    ),
    "a deadline that has passed": Case(
        parts={"breaker": BreakerSettings()},
        script=[],
        result=DeadlineExceededError,
        attempts=0,
        breaker=(0, 0, 0),
        within_s=0.0,
    ),
    "a time-out of the policy": Case(
        parts={"attempt_timeout": 1.0, "breaker": BreakerSettings(failures=1)},
        script=[lambda clock: raise_after(clock, 1.0, TimeoutError())],
        result=TimeoutError,
        breaker=(0, 1, 0),
        state="open",
    ),
    "a time-out by a caller's deadline that left no fair chance": Case(
        parts={"attempt_timeout": 1.0, "breaker": BreakerSettings(failures=1)},
        script=[lambda clock: raise_after(clock, 0.4, TimeoutError())],
        result=TimeoutError,
        breaker=(0, 0, 1),
        within_s=0.4,
    ),
    "a time-out by a caller's deadline that left a fair chance": Case(
        parts={"attempt_timeout": 1.0, "breaker": BreakerSettings(failures=1)},
        script=[lambda clock: raise_after(clock, 0.6, TimeoutError())],
        result=TimeoutError,
        breaker=(0, 1, 0),
        state="open",
        within_s=0.6,
    ),
    "a slow time-out by a caller's deadline": Case(
        parts={"breaker": BreakerSettings(failures=1, slow_s=5.0)},
        script=[lambda clock: raise_after(clock, 5.0, TimeoutError())],
        result=TimeoutError,
        breaker=(0, 1, 0),
        state="open",
        within_s=5.0,
    ),
    "a first time-out and a small budget": Case(
        parts={"retry": TWICE, "budget": Budget(share=0.1, per_second=0.0, most=1.0)},
        script=[TimeoutError(), "ok"],
        result="ok",
        attempts=2,
        waits=[2.0],
    ),
    "no budget": Case(
        parts={"retry": TWICE, "budget": Budget(share=0.0, per_second=0.0)},
        script=[LOST],
        result=OSError,
        note="the retry budget is used up",
    ),
}


def raise_after(clock: FakeClock, seconds: float, error: Exception) -> None:
    clock.move(seconds)
    raise error


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_form_of_a_call_has_the_same_semantics(
    case: Case, form: Callable[[Policy, Body], Awaitable[Any]]
):
    clock, script, attempts = FakeClock(), iter(case.script), 0

    def sleep_sync(seconds: float) -> None:
        clock.sleep_sync(seconds)
        if case.while_waiting is not None:
            case.while_waiting(policy)

    async def sleep(seconds: float) -> None:
        sleep_sync(seconds)

    def body() -> Any:
        nonlocal attempts
        attempts += 1
        step = next(script)
        if isinstance(step, BaseException):
            raise step
        return step(clock) if callable(step) else step

    policy = Policy(
        "rates",
        clock=clock,
        sleep=sleep,
        sleep_sync=sleep_sync,
        random=lambda: 0.0,
        interrupt=False,
        **case.parts,
    )
    holding, finish = None, asyncio.Event()
    if case.held:
        holding = asyncio.create_task(policy.call(finish.wait))
        await asyncio.sleep(0)
    if case.before is not None:
        case.before(policy, clock)
    caught: BaseException | None = None
    result: Any = None
    with deadline(case.within_s, clock=clock):
        try:
            result = await form(policy, body)
        except (Exception, AbortError) as error:
            caught = error
    if holding is not None:
        finish.set()
        await holding

    assert (type(caught) if caught is not None else result) == case.result
    assert (attempts, clock.slept) == (case.attempts, case.waits)
    assert case.note in " ".join(getattr(caught, "__notes__", []))
    if policy.breaker is not None:
        seen = policy.breaker.statistics()
        assert (seen.state.value, seen.probes_running) == (case.state, 0)
        assert case.breaker in (None, (seen.successes, seen.failures, seen.ignored))
        assert seen.retry_after is None or seen.retry_after <= 300.0
    budget = policy.budget
    counts = (budget.successes, budget.failures, budget.exhausted, budget.retries)
    assert case.budget in (None, counts)
    assert remaining() is None


def test_a_block_in_a_thread_is_refused_by_a_policy_that_interrupts():
    with pytest.raises(TypeError, match="rates: a plain function can't be interrupted"):
        iter(Policy("rates", total_timeout=1.0).attempts())


def abort() -> None:
    raise AbortError


def test_a_block_in_a_thread_that_is_left_releases_what_it_holds():
    policy = Policy("rates", breaker=BreakerSettings(failures=1, open_s=1.0), bulkhead=Bulkhead(limit=1))

    def leave() -> None:
        for attempt in policy.attempts():
            with attempt:
                return

    for _ in range(3):
        leave()
    with pytest.raises(AbortError):
        _run_block(policy, abort)
    assert policy.call_sync(lambda: "ok") == "ok"


def test_one_object_of_attempts_serves_one_loop_and_only_in_with():
    policy = Policy("rates")
    attempts = policy.attempts()
    for attempt in attempts:
        with attempt:
            pass
    with pytest.raises(RuntimeError, match="serves one loop"):
        iter(attempts)
    with pytest.raises(RuntimeError, match="in the loop"), policy.attempts():
        pass


def test_a_block_in_a_thread_without_with_is_refused():
    def leave_out_with() -> None:
        for _ in Policy("rates").attempts():
            pass

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match=r"write `async with attempt:` \(`with` in a thread\)"):
            leave_out_with()
        gc.collect()
    assert [one.category for one in warned] == [RuntimeWarning]
