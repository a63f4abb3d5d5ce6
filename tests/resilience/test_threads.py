"""One policy used by many threads: bulkhead limits hold, counts are exact, and no slot leaks."""

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from synccash.resilience import (
    BreakerSettings,
    Bulkhead,
    BulkheadFullError,
    CircuitOpenError,
    Policy,
    Retry,
)

WAIT_S = 30.0


@pytest.fixture(autouse=True)
def switch_threads_often() -> Generator[None]:
    """Makes the interpreter switch threads a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


class ConcurrencyProbe:
    """Counts the threads that run a call at the same time. `hold` keeps a thread in it until `released`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()

    def enter_and_leave(self, stay: Callable[[], object] = int) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        stay()
        with self.lock:
            self.running -= 1

    def hold(self) -> None:
        self.enter_and_leave(lambda: self.released.wait(WAIT_S))


def all_slots_are_free(policy: Policy, limit: int) -> bool:
    """True if exactly `limit` calls run at the same time and one more is refused."""
    probe = ConcurrencyProbe()
    with ThreadPoolExecutor(limit) as threads:
        running = [threads.submit(policy.call_sync, probe.hold) for _ in range(limit)]
        inside = all(probe.entered.acquire(timeout=WAIT_S) for _ in range(limit))
        try:
            policy.call_sync(int)
            inside = False
        except BulkheadFullError:
            pass
        probe.released.set()
        for one in running:
            one.result(WAIT_S)
    return inside


def test_a_bulkhead_never_runs_more_threads_than_its_limit_and_runs_every_waiting_one():
    probe, policy = ConcurrencyProbe(), Policy("files", bulkhead=Bulkhead(limit=3, queue=100))
    with ThreadPoolExecutor(12) as threads:
        visits = [threads.submit(policy.call_sync, probe.enter_and_leave) for _ in range(600)]
        for visit in visits:
            visit.result(WAIT_S)
    assert probe.most <= 3
    assert probe.running == 0


def test_a_full_bulkhead_refuses_threads_at_once_or_after_wait_s():
    policy = Policy("files", bulkhead=Bulkhead(limit=1))
    patient = Policy("files", bulkhead=Bulkhead(limit=1, queue=1, wait_s=0.01))
    for one, queue in ((policy, 0), (patient, 0)):
        probe = ConcurrencyProbe()
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(one.call_sync, probe.hold)
            assert probe.entered.acquire(timeout=WAIT_S)
            with pytest.raises(BulkheadFullError) as refused:
                one.call_sync(int)
            assert (refused.value.name, refused.value.limit, refused.value.queue) == ("files", 1, queue)
            probe.released.set()
            running.result(WAIT_S)
        assert one.call_sync(int) == 0


def test_a_thread_whose_deadline_passes_in_the_queue_is_refused():
    policy = Policy("files", bulkhead=Bulkhead(limit=1, queue=1), total_timeout=0.01, interrupt=False)
    probe = ConcurrencyProbe()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(policy.call_sync, probe.hold)
        assert probe.entered.acquire(timeout=WAIT_S)
        with pytest.raises(BulkheadFullError):
            policy.call_sync(int)
        probe.released.set()
        running.result(WAIT_S)


class Abort(BaseException):
    """Like KeyboardInterrupt, no Exception and so no failure of the dependency."""


def test_a_call_releases_its_slot_whatever_it_raises():
    policy = Policy("files", bulkhead=Bulkhead(limit=2), breaker=BreakerSettings(failures=None))
    for kind in (OSError, Abort, SystemExit):

        def leave(kind: type[BaseException] = kind) -> None:
            raise kind

        for _ in range(5):
            with pytest.raises(kind):
                policy.call_sync(leave)
    assert all_slots_are_free(policy, 2)
    assert policy.breaker is not None
    assert policy.breaker.statistics().failures == 5


def test_counts_and_probes_are_exact_while_the_breaker_opens_and_closes():
    policy = Policy(
        "rates",
        breaker=BreakerSettings(failures=3, open_s=0.000_5, open_max_s=0.001, probes=2, probes_at_once=2),
        bulkhead=Bulkhead(limit=4),
    )
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def call_repeatedly(seed: int) -> None:
        chance, own = random.Random(seed), Counter[str]()

        def call() -> None:
            if chance.random() < 0.5:
                raise OSError("down")

        for _ in range(400):
            try:
                policy.call_sync(call)
                own["successes"] += 1
            except OSError:
                own["failures"] += 1
            except CircuitOpenError:
                own["blocked"] += 1
            except BulkheadFullError:
                own["ignored"] += 1
        with lock:
            seen.update(own)

    threads = [threading.Thread(target=call_repeatedly, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert policy.breaker is not None
    found = policy.breaker.statistics()
    assert {name: getattr(found, name) for name in ("successes", "failures", "blocked", "ignored")} == {
        name: seen[name] for name in ("successes", "failures", "blocked", "ignored")
    }
    assert sum(seen.values()) == 8 * 400
    assert found.opened > 0
    assert found.probes_running == 0
    assert sum(found.durations) == found.successes + found.failures
    policy.breaker.reset()
    assert all_slots_are_free(policy, 4)


def test_threads_share_one_budget_and_each_retry_is_counted_once():
    policy = Policy(
        "rates", retry=Retry(attempts=3, strategy="immediate", on=OSError), budget=None, clock=lambda: 0.0
    )
    calls = Counter[int]()

    def call(thread: int) -> None:
        calls[thread] += 1
        raise OSError("down")

    def call_repeatedly(thread: int) -> None:
        for _ in range(100):
            with pytest.raises(OSError, match="down"):
                policy.call_sync(call, thread)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(call_repeatedly, range(4)))
    assert calls == dict.fromkeys(range(4), 300)
    found = policy.budget.statistics()
    assert (found.exhausted, found.retries, found.successes) == (400, 800, 0)


def test_one_of_many_threads_gets_the_probe():
    now = [0.0]
    policy = Policy("rates", breaker=BreakerSettings(failures=1, open_s=10.0), clock=lambda: now[0])

    def fail() -> None:
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        policy.call_sync(fail)
    now[0] = 20.0
    probe, refused = ConcurrencyProbe(), threading.Semaphore(0)

    def call_once() -> None:
        try:
            policy.call_sync(probe.hold)
        except CircuitOpenError:
            refused.release()

    threads = [threading.Thread(target=call_once) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert all(refused.acquire(timeout=WAIT_S) for _ in range(19))
    probe.released.set()
    for thread in threads:
        thread.join()
    assert probe.most == 1
    assert policy.breaker is not None
    assert policy.breaker.state.value == "closed"
