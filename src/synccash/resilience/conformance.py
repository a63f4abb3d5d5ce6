"""What any circuit breaker should keep, as tests over an adapter: ours, or somebody else's.

class TestTheirs(BreakerConformance):
    def make(self, *, failures, open_s, hold_s, clock): return MyAdapter(…)
"""

from collections.abc import Callable
from typing import Any, Protocol

from synccash.resilience.testing import FakeClock

_FAILURES, _OPEN_S, _HOLD_S = 3, 30.0, 10.0


class BreakerUnderTest(Protocol):
    """What the suite does with a breaker."""

    def admit(self) -> Any | None:
        """Ask for leave to call: a ticket that is not None, or None when refused."""
        ...

    def succeed(self, ticket: Any) -> None:
        """The call of `ticket` was a success."""
        ...

    def fail(self, ticket: Any) -> None:
        """The call of `ticket` failed."""
        ...

    def cancel(self, ticket: Any) -> None:
        """The caller of `ticket` went away before it ended."""
        ...


class BreakerConformance:
    """What a breaker has to keep, one promise a test. Not collected by itself."""

    def make(
        self, *, failures: int, open_s: float, hold_s: float, clock: Callable[[], float]
    ) -> BreakerUnderTest:
        """A closed breaker that `failures` in a row open for `open_s`; one probe, for `hold_s` at most."""
        wanted = (failures, open_s, hold_s, clock)
        raise AssertionError(f"override make(): say how your breaker is made with {wanted}")

    def _made(self) -> tuple[BreakerUnderTest, FakeClock]:
        clock = FakeClock()
        return self.make(failures=_FAILURES, open_s=_OPEN_S, hold_s=_HOLD_S, clock=clock), clock

    def _open(self, *, late: int = 0) -> tuple[BreakerUnderTest, FakeClock, list[Any]]:
        breaker, clock = self._made()
        began = [breaker.admit() for _ in range(late)]
        for _ in range(_FAILURES):
            breaker.fail(breaker.admit())
        _expect(breaker.admit() is None, f"{_FAILURES} failures in a row open it")
        return breaker, clock, began

    def test_it_opens_and_one_good_probe_closes_it(self) -> None:
        """Failures in a row open it; after its open time one success closes it."""
        breaker, clock, _ = self._open()
        clock.move(_OPEN_S * 1.2)
        breaker.succeed(breaker.admit())
        _expect(all(breaker.admit() is not None for _ in range(10)), "a good probe closes it")

    def test_of_fifty_callers_together_one_probes(self) -> None:
        """A far side that just came back is not trampled down."""
        breaker, clock, _ = self._open()
        clock.move(_OPEN_S * 1.2)
        passed = sum(breaker.admit() is not None for _ in range(50))
        _expect(passed == 1, f"1 of 50 passes, not {passed}")

    def test_a_failed_probe_opens_it_again(self) -> None:
        """One failed probe is enough."""
        breaker, clock, _ = self._open()
        clock.move(_OPEN_S * 1.2)
        breaker.fail(breaker.admit())
        _expect(breaker.admit() is None, "a failed probe opens it")

    def test_a_cancelled_probe_gives_its_place_back_and_proves_nothing(self) -> None:
        """A caller who hangs up says nothing about the far side."""
        breaker, clock, _ = self._open()
        clock.move(_OPEN_S * 1.2)
        breaker.cancel(breaker.admit())
        passed = sum(breaker.admit() is not None for _ in range(10))
        _expect(passed == 1, f"after a cancelled probe exactly 1 may probe, not {passed}")

    def test_a_hung_probe_is_given_up_after_its_hold(self) -> None:
        """A probe that never ends does not shut the far side out for good."""
        breaker, clock, _ = self._open()
        clock.move(_OPEN_S * 1.2)
        hung = breaker.admit()
        clock.move(_HOLD_S)
        _expect(breaker.admit() is not None, "another may probe in its place")
        breaker.succeed(hung)
        _expect(breaker.admit() is None, "the hung probe's late success closes nothing")

    def test_ten_cancelled_calls_open_nothing(self) -> None:
        """However many hang up."""
        breaker, _ = self._made()
        for _ in range(10):
            breaker.cancel(breaker.admit())
        _expect(breaker.admit() is not None, "still closed")

    def test_a_late_success_closes_neither_an_open_nor_a_half_open_one(self) -> None:
        """What began before it opened proves nothing after."""
        breaker, clock, (early, later) = self._open(late=2)
        breaker.succeed(early)
        _expect(breaker.admit() is None, "still open")
        clock.move(_OPEN_S * 1.2)
        _expect(breaker.admit() is not None, "a probe")
        breaker.succeed(later)
        _expect(breaker.admit() is None, "still half-open, and its one place is taken")

    def test_late_failures_of_a_former_era_do_not_open_it_again(self) -> None:
        """What began before the recovery says nothing about the time after it."""
        breaker, clock, late = self._open(late=10)
        clock.move(_OPEN_S * 1.2)
        breaker.succeed(breaker.admit())
        for ticket in late:
            breaker.fail(ticket)
        _expect(breaker.admit() is not None, "still closed")


def _expect(kept: object, promise: str) -> None:
    if not kept:
        raise AssertionError(promise)
