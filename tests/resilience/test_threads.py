"""One policy in many threads: places are kept, counts add up, and nothing leaks."""

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
def restless() -> Generator[None]:
    """Threads take turns a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


class Room:
    """Counts who is in it at once. `stay` holds everybody inside until `leave`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.entered = threading.Semaphore(0)
        self.left = threading.Event()

    def visit(self, stay: Callable[[], object] = int) -> None:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        stay()
        with self.lock:
            self.inside -= 1

    def stay(self) -> None:
        self.visit(lambda: self.left.wait(WAIT_S))


def all_places_are_free(policy: Policy, limit: int) -> bool:
    """So many get in at once, and one more does not."""
    room = Room()
    with ThreadPoolExecutor(limit) as threads:
        running = [threads.submit(policy.call_sync, room.stay) for _ in range(limit)]
        inside = all(room.entered.acquire(timeout=WAIT_S) for _ in range(limit))
        try:
            policy.call_sync(int)
            inside = False
        except BulkheadFullError:
            pass
        room.left.set()
        for one in running:
            one.result(WAIT_S)
    return inside


def test_threads_in_a_bulkhead_are_never_more_than_its_limit_and_those_who_wait_get_their_turn():
    room, policy = Room(), Policy("files", bulkhead=Bulkhead(limit=3, queue=100))
    with ThreadPoolExecutor(12) as threads:
        visits = [threads.submit(policy.call_sync, room.visit) for _ in range(600)]
        for visit in visits:
            visit.result(WAIT_S)
    assert room.most <= 3
    assert room.inside == 0


def test_a_full_bulkhead_refuses_a_thread_at_once_and_one_that_waited_too_long():
    policy = Policy("files", bulkhead=Bulkhead(limit=1))
    patient = Policy("files", bulkhead=Bulkhead(limit=1, queue=1, wait_s=0.01))
    for one, queue in ((policy, 0), (patient, 0)):
        room = Room()
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(one.call_sync, room.stay)
            assert room.entered.acquire(timeout=WAIT_S)
            with pytest.raises(BulkheadFullError) as refused:
                one.call_sync(int)
            assert (refused.value.name, refused.value.limit, refused.value.queue) == ("files", 1, queue)
            room.left.set()
            running.result(WAIT_S)
        assert one.call_sync(int) == 0


def test_a_thread_whose_time_is_over_while_it_waits_for_a_place_is_refused():
    policy = Policy("files", bulkhead=Bulkhead(limit=1, queue=1), total_timeout=0.01, interrupt=False)
    room = Room()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(policy.call_sync, room.stay)
        assert room.entered.acquire(timeout=WAIT_S)
        with pytest.raises(BulkheadFullError):
            policy.call_sync(int)
        room.left.set()
        running.result(WAIT_S)


class Abort(BaseException):
    """As KeyboardInterrupt is: no failure of the far side."""


def test_whatever_a_call_raises_its_place_and_its_probe_are_given_back():
    policy = Policy("files", bulkhead=Bulkhead(limit=2), breaker=BreakerSettings(failures=None))
    for kind in (OSError, Abort, SystemExit):

        def leave(kind: type[BaseException] = kind) -> None:
            raise kind

        for _ in range(5):
            with pytest.raises(kind):
                policy.call_sync(leave)
    assert all_places_are_free(policy, 2)
    assert policy.breaker is not None
    assert policy.breaker.statistics().failures == 5


def test_threads_that_fail_while_the_breaker_opens_and_closes_lose_no_count_and_no_probe():
    policy = Policy(
        "far",
        breaker=BreakerSettings(failures=3, open_s=0.000_5, open_max_s=0.001, probes=2, probes_at_once=2),
        bulkhead=Bulkhead(limit=4),
    )
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def hammer(seed: int) -> None:
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

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
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
    assert all_places_are_free(policy, 4)


def test_threads_share_one_budget_and_every_repeat_is_paid_once():
    policy = Policy(
        "far", retry=Retry(attempts=3, strategy="immediate", on=OSError), budget=None, clock=lambda: 0.0
    )
    calls = Counter[int]()

    def call(thread: int) -> None:
        calls[thread] += 1
        raise OSError("down")

    def hammer(thread: int) -> None:
        for _ in range(100):
            with pytest.raises(OSError, match="down"):
                policy.call_sync(call, thread)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(hammer, range(4)))
    assert calls == dict.fromkeys(range(4), 300)
    found = policy.budget.statistics()
    assert (found.exhausted, found.retries, found.successes) == (400, 800, 0)


def test_one_thread_of_many_probes():
    now = [0.0]
    policy = Policy("far", breaker=BreakerSettings(failures=1, open_s=10.0), clock=lambda: now[0])

    def fail() -> None:
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        policy.call_sync(fail)
    now[0] = 20.0
    room, refused = Room(), threading.Semaphore(0)

    def try_it() -> None:
        try:
            policy.call_sync(room.stay)
        except CircuitOpenError:
            refused.release()

    threads = [threading.Thread(target=try_it) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert all(refused.acquire(timeout=WAIT_S) for _ in range(19))
    room.left.set()
    for thread in threads:
        thread.join()
    assert room.most == 1
    assert policy.breaker is not None
    assert policy.breaker.state.value == "closed"
