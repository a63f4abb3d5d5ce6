"""The schedule of inquiries: how long to wait before a rail is asked about an attempt again."""

from dataclasses import dataclass
from math import inf

_DAY_S = 86_400.0
_PARKED = ((_DAY_S, 30 * _DAY_S), (30 * _DAY_S, inf))


@dataclass(frozen=True, slots=True)
class InquirySchedule:
    """The waits between inquiries, in seconds: each of `steps` once, then the intervals of `tail`.

    An interval `(every, until_age)` applies while the attempt is younger than `until_age`. After the last
    interval of `tail` the order is parked for review, and inquiries go on at the intervals of `parked`. The
    last one has no end: the rail is asked until the order has ended.
    """

    steps: tuple[float, ...]
    tail: tuple[tuple[float, float], ...]
    parked: tuple[tuple[float, float], ...] = _PARKED

    def __post_init__(self) -> None:
        if not self.steps and not self.tail:
            raise ValueError("a schedule needs at least one step or one tail interval")
        if not self.parked or self.parked[-1][1] != inf:
            raise ValueError("the last interval of `parked` must have no end (inf)")

    @property
    def first_s(self) -> float:
        """The wait before the first inquiry after a send."""
        return self.steps[0] if self.steps else self.tail[0][0]

    @property
    def tail_s(self) -> float:
        """The wait of the first interval after the steps."""
        return self.tail[0][0] if self.tail else self.steps[-1]

    def wait_s(self, inquiries: int, age_s: float) -> float | None:
        """Return the wait before the next inquiry after `inquiries` of them, or None at the end of the
        tail."""
        if inquiries < len(self.steps):
            return self.steps[inquiries]
        return _interval_at(self.tail, age_s)

    def endless_wait_s(self, tries: int, age_s: float) -> float:
        """Return the wait before the next try of an order that never expires; the last interval repeats."""
        wait_s = self.wait_s(tries, age_s)
        return (self.tail[-1][0] if self.tail else self.steps[-1]) if wait_s is None else wait_s

    def parked_s(self, age_s: float) -> float:
        """Return the wait before the next inquiry of a parked order, whose tail has ended."""
        wait_s = _interval_at(self.parked, age_s)
        return self.parked[-1][0] if wait_s is None else wait_s


def _interval_at(intervals: tuple[tuple[float, float], ...], age_s: float) -> float | None:
    return next((every for every, until in intervals if age_s < until), None)


PRODUCTION = InquirySchedule(steps=(5, 15, 30, 60, 120, 300), tail=((900, 86_400), (3_600, 259_200)))
SANDBOX = InquirySchedule(steps=(0.5, 1, 2, 4), tail=((5, 259_200),))
