"""A pytest suite for any circuit breaker: subclass BreakerConformance and return an adapter from `make`.

class TestMyBreaker(BreakerConformance):
    def make(self, *, failures, open_s, hold_s, clock): return MyAdapter(…)
"""

from collections.abc import Callable
from typing import Any, Protocol

from synccash.resilience.testing import FakeClock

_FAILURES, _OPEN_S, _HOLD_S = 3, 30.0, 10.0


class BreakerUnderTest(Protocol):
    """Adapter through which the suite uses a breaker."""

    def admit(self) -> Any | None:
        """Return a permit for one call, which is not None; None when the breaker refuses the call."""
        ...

    def succeed(self, ticket: Any) -> None:
        """Record a success of the call that has this permit."""
        ...

    def fail(self, ticket: Any) -> None:
        """Record a failure of the call that has this permit."""
        ...

    def cancel(self, ticket: Any) -> None:
        """Give the permit back: the call was cancelled before it ended."""
        ...


class BreakerConformance:
    """Tests that every circuit breaker should pass. pytest collects subclasses, not this class itself."""

    def make(
        self, *, failures: int, open_s: float, hold_s: float, clock: Callable[[], float]
    ) -> BreakerUnderTest:
        """Return a closed breaker that opens for `open_s` seconds after `failures` failures in a row.

        Half-open, it allows one probe at a time and gives a probe up after `hold_s` seconds.
        """
        settings = (failures, open_s, hold_s, clock)
        raise AssertionError(f"override make() and return an adapter of your breaker with {settings}")

    def _new_breaker(self) -> tuple[BreakerUnderTest, FakeClock]:
        clock = FakeClock()
        return self.make(failures=_FAILURES, open_s=_OPEN_S, hold_s=_HOLD_S, clock=clock), clock

    def _opened_breaker(self, *, late: int = 0) -> tuple[BreakerUnderTest, FakeClock, list[Any]]:
        breaker, clock = self._new_breaker()
        early = [breaker.admit() for _ in range(late)]
        for _ in range(_FAILURES):
            breaker.fail(breaker.admit())
        _expect(breaker.admit() is None, f"{_FAILURES} failures in a row must open the breaker")
        return breaker, clock, early

    def test_it_opens_and_one_good_probe_closes_it(self) -> None:
        """Failures in a row open the breaker; after its open time, one successful probe closes it."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        breaker.succeed(breaker.admit())
        _expect(all(breaker.admit() is not None for _ in range(10)), "a successful probe must close it")

    def test_of_fifty_callers_together_one_probes(self) -> None:
        """A dependency that has just recovered gets one probe, not every waiting call."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        passed = sum(breaker.admit() is not None for _ in range(50))
        _expect(passed == 1, f"exactly 1 of 50 calls must get a permit, not {passed}")

    def test_a_failed_probe_opens_it_again(self) -> None:
        """One failed probe opens the breaker again."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        breaker.fail(breaker.admit())
        _expect(breaker.admit() is None, "a failed probe must open the breaker")

    def test_a_cancelled_probe_gives_its_place_back_and_proves_nothing(self) -> None:
        """A cancelled probe is neither a success nor a failure, and frees its slot for another probe."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        breaker.cancel(breaker.admit())
        passed = sum(breaker.admit() is not None for _ in range(10))
        _expect(passed == 1, f"after a cancelled probe exactly 1 call must get a permit, not {passed}")

    def test_a_hung_probe_is_given_up_after_its_hold(self) -> None:
        """A probe that never ends keeps the breaker half-open only for `hold_s` seconds."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        hung = breaker.admit()
        clock.move(_HOLD_S)
        _expect(breaker.admit() is not None, "after hold_s another probe must get a permit")
        breaker.succeed(hung)
        _expect(breaker.admit() is None, "the late success of a hung probe must not close the breaker")

    def test_ten_cancelled_calls_open_nothing(self) -> None:
        """Cancelled calls do not count as failures."""
        breaker, _ = self._new_breaker()
        for _ in range(10):
            breaker.cancel(breaker.admit())
        _expect(breaker.admit() is not None, "cancelled calls must leave the breaker closed")

    def test_a_late_success_closes_neither_an_open_nor_a_half_open_one(self) -> None:
        """A success of a call that started before the breaker opened does not close it."""
        breaker, clock, (early, later) = self._opened_breaker(late=2)
        breaker.succeed(early)
        _expect(breaker.admit() is None, "a late success must leave the breaker open")
        clock.move(_OPEN_S * 1.2)
        _expect(breaker.admit() is not None, "after its open time the breaker must allow a probe")
        breaker.succeed(later)
        _expect(breaker.admit() is None, "a late success must leave it half-open, with its probe running")

    def test_late_failures_of_a_former_era_do_not_open_it_again(self) -> None:
        """A failure of a call that started before the breaker opened does not open it after its recovery."""
        breaker, clock, late = self._opened_breaker(late=10)
        clock.move(_OPEN_S * 1.2)
        breaker.succeed(breaker.admit())
        for permit in late:
            breaker.fail(permit)
        _expect(breaker.admit() is not None, "late failures must leave the recovered breaker closed")


def _expect(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)
