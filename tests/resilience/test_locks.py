"""The toolkit holds no lock while it runs code of its user, and its locks keep all counts exact."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from synccash.resilience import (
    BreakerSettings,
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    CircuitOpenError,
    Outcome,
    Policy,
    Retry,
    Verdict,
)
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter

WAIT_S = 30.0


def run_in_thread(work: Callable[[], object]) -> None:
    """Run `work` in another thread, which fails if it waits for a lock that the caller holds."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive(), "a lock was held while code of the user ran"


def use_everything(policy: Policy) -> None:
    """Take every lock of a policy's parts."""
    assert policy.breaker is not None
    policy.breaker.statistics()
    policy.breaker.observe(Outcome.IGNORED, 0.1)
    policy.budget.spend(timed_out=False)


@pytest.mark.parametrize("hook", ["classify", "on", "count", "listener", "log handler", "guard", "error"])
def test_no_lock_is_held_while_code_of_the_user_runs(hook):
    used: list[str] = []

    def use() -> None:
        if not used:
            used.append(hook)
            run_in_thread(lambda: use_everything(policy))
            used.append("returned")  # because the breaker drops what the text of an error raises

    def judge(result: object) -> Verdict:
        use()
        return Verdict(Outcome.FAILED if isinstance(result, Exception) else Outcome.OK)

    def say_yes(error: BaseException) -> bool:
        use()
        return isinstance(error, OSError)

    def allow() -> bool:
        use()
        return True

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            use()

    now = [0.0]
    policy = Policy(
        "rates",
        retry=Retry(attempts=2, base=0.0, on=say_yes) if hook == "on" else None,
        breaker=BreakerSettings(failures=1, open_s=1.0, count=say_yes if hook == "count" else None),
        classify=judge if hook == "classify" else None,
        clock=lambda: now[0],
    )
    assert policy.breaker is not None
    handler, log = Handler(), logging.getLogger("synccash.resilience")
    if hook == "log handler":
        log.addHandler(handler)
    if hook == "listener":
        policy.breaker.listen(lambda transition: use())
    if hook == "guard":
        policy.breaker.guard(allow)

    class DownError(OSError):
        def __str__(self) -> str:
            if hook == "error":
                use()
            return "down"

    def fail() -> None:
        raise DownError

    try:
        with pytest.raises(DownError):
            policy.call_sync(fail)
        now[0] = 5.0
        policy.call_sync(int)
    finally:
        log.removeHandler(handler)
    assert used == [hook, "returned"]


def test_two_breakers_that_follow_each_other_do_not_lock_each_other_out():
    breakers = [CircuitBreaker("a"), CircuitBreaker("b")]
    both = threading.Barrier(2)
    for breaker, other in zip(breakers, reversed(breakers), strict=True):

        def follow(transition: object, other: CircuitBreaker = other) -> None:
            if getattr(transition, "reason", "") == "down":
                both.wait(WAIT_S)
                other.force_open("follows")

        breaker.listen(follow)
    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(breaker.force_open, "down") for breaker in breakers]:
            one.result(WAIT_S)
    assert [breaker.reason for breaker in breakers] == ["follows", "follows"]


def test_transitions_are_delivered_in_order_also_when_a_listener_causes_the_next_one():
    breaker, seen = CircuitBreaker("a"), list[str]()

    def reset_when_forced(transition: object) -> None:
        if getattr(transition, "reason", "") == "down":
            breaker.reset("again")

    breaker.listen(reset_when_forced)
    breaker.listen(lambda transition: seen.append(transition.reason))
    breaker.force_open("down")
    assert seen == ["down", "again"]


def test_a_listener_that_aborts_its_thread_keeps_no_later_transition_back():
    breaker, seen = CircuitBreaker("a"), list[str]()

    def abort(transition: object) -> None:
        del transition
        if not seen:
            seen.append("aborted")
            raise KeyboardInterrupt

    breaker.listen(abort)
    breaker.listen(lambda transition: seen.append(transition.reason))
    with pytest.raises(KeyboardInterrupt):
        breaker.force_open("down")
    breaker.reset("again")
    assert seen == ["aborted", "again"]


def test_a_denied_probe_gives_its_slot_back():
    now, answers = [0.0], [False, True]
    breaker = CircuitBreaker("a", BreakerSettings(failures=1, open_s=1.0), clock=lambda: now[0])
    breaker.observe(Outcome.FAILED, 0.1)
    now[0] = 5.0
    breaker.guard(lambda: answers.pop(0))
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    assert breaker.acquire() < 0

    def break_down() -> bool:
        raise ValueError("guard")

    breaker.reset()
    breaker.observe(Outcome.FAILED, 0.1)
    now[0] = 10.0
    breaker.guard(break_down)
    with pytest.raises(ValueError, match="guard"):
        breaker.acquire()
    assert breaker.statistics().probes_running == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_process_forked_while_a_thread_classifies_can_call():
    entered, finish = threading.Event(), threading.Event()

    def slow(error: BaseException) -> bool:
        del error
        entered.set()
        finish.wait(WAIT_S)
        return False

    policy = Policy("rates", retry=Retry(on=slow), breaker=BreakerSettings())

    def fail() -> None:
        raise OSError("down")

    def call() -> None:
        with pytest.raises(OSError, match="down"):
            policy.call_sync(fail)

    thread = threading.Thread(target=call)
    thread.start()
    assert entered.wait(WAIT_S)
    child = os.fork()
    if child == 0:
        finish.set()
        try:
            policy.call_sync(fail)
        except OSError:
            os._exit(0)
        os._exit(1)
    finish.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def frequent_switches() -> Generator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("way", ["check", "hit"])
def test_a_memory_limiter_is_exact_under_threads(way, frequent_switches):
    limiter, limit = MemoryLimiter(), Limit(name="x", scope="ip", quota=500, period_s=86_400)

    def work() -> int:
        if way == "check":
            return sum(limiter.check([Demand(limit, "a")]).allowed for _ in range(250))
        return sum(not limiter.hit(limit, "a") for _ in range(250))

    with ThreadPoolExecutor(4) as threads:
        assert sum(one.result() for one in [threads.submit(work) for _ in range(4)]) == 500


class Presence:
    """Counts the calls that run at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0

    def enter(self) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)

    def exit(self) -> None:
        with self.lock:
            self.running -= 1


async def test_tasks_and_threads_share_the_slots_of_a_bulkhead(frequent_switches):
    policy, presence = Policy("rates", bulkhead=Bulkhead(limit=2, queue=100)), Presence()

    def in_thread() -> None:
        presence.enter()
        presence.exit()

    async def in_task() -> None:
        presence.enter()
        await asyncio.sleep(0)
        presence.exit()

    def work() -> None:
        for _ in range(50):
            policy.call_sync(in_thread)

    threads = [asyncio.to_thread(work) for _ in range(3)]
    await asyncio.gather(*threads, *(policy.call(in_task) for _ in range(50)))
    assert presence.running == 0
    assert presence.most <= 2


async def test_a_thread_is_refused_while_a_task_has_the_only_slot():
    policy, finish = Policy("rates", bulkhead=Bulkhead(limit=1)), asyncio.Event()
    holding = asyncio.create_task(policy.call(finish.wait))
    await asyncio.sleep(0)
    with pytest.raises(BulkheadFullError):
        await asyncio.to_thread(policy.call_sync, int)
    finish.set()
    await holding
    assert await asyncio.to_thread(policy.call_sync, int) == 0


def test_a_slot_passes_from_one_event_loop_to_another():
    policy = Policy("rates", bulkhead=Bulkhead(limit=1, queue=1))
    holding, waiting = threading.Event(), threading.Event()

    async def hold() -> str:
        holding.set()
        await asyncio.to_thread(waiting.wait, WAIT_S)
        return "first"

    async def second() -> str:
        task = asyncio.create_task(policy.call(asyncio.sleep, 0, "second"))
        await asyncio.sleep(0)
        waiting.set()
        return await asyncio.wait_for(task, WAIT_S)

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(asyncio.run, policy.call(hold))
        assert holding.wait(WAIT_S)
        two = threads.submit(asyncio.run, second())
        assert (one.result(WAIT_S), two.result(WAIT_S)) == ("first", "second")


def test_a_waiting_call_of_a_closed_event_loop_takes_no_slot():
    policy = Policy("rates", bulkhead=Bulkhead(limit=1, queue=2))
    loop = asyncio.new_event_loop()
    held, finish = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        finish.wait(WAIT_S)

    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(policy.call_sync, hold)
        assert held.wait(WAIT_S)
        abandoned = loop.create_task(policy.call(asyncio.sleep, 0))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        finish.set()
        running.result(WAIT_S)
    assert policy.call_sync(int) == 0
    abandoned._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
    del abandoned
    assert policy.call_sync(int) == 0
