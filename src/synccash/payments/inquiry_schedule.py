"""When to ask a rail again."""

from dataclasses import dataclass
from math import inf

_DAY_S = 86_400.0
_PARKED = ((_DAY_S, 30 * _DAY_S), (30 * _DAY_S, inf))


@dataclass(frozen=True, slots=True)
class InquirySchedule:
    """The waits between inquiries, in seconds: first each of `steps`, then `(every, until_age)` in turn.

    Ages count from the attempt's start. After the last rung a human is asked for; the rail goes on being
    asked, at the pace of `parked`, whose last rung has no end: an order that is not over is never forgotten.
    """

    steps: tuple[float, ...]
    tail: tuple[tuple[float, float], ...]
    parked: tuple[tuple[float, float], ...] = _PARKED

    def __post_init__(self) -> None:
        if not self.steps and not self.tail:
            raise ValueError("a ladder has a step or a rung")
        if not self.parked or self.parked[-1][1] != inf:
            raise ValueError("the last rung of `parked` has no end")

    @property
    def first_s(self) -> float:
        """The wait before the first inquiry after a send."""
        return self.steps[0] if self.steps else self.tail[0][0]

    @property
    def tail_s(self) -> float:
        """The wait of the first rung after the steps."""
        return self.tail[0][0] if self.tail else self.steps[-1]

    def wait_s(self, inquiries: int, age_s: float) -> float | None:
        """Return the wait before the next inquiry after `inquiries` of them, or None at the ladder's end."""
        if inquiries < len(self.steps):
            return self.steps[inquiries]
        return _paced(self.tail, age_s)

    def patience_s(self, tries: int, age_s: float) -> float:
        """Return the wait before the next try of what is owed for ever; at the end it is the last rung's."""
        wait_s = self.wait_s(tries, age_s)
        return (self.tail[-1][0] if self.tail else self.steps[-1]) if wait_s is None else wait_s

    def parked_s(self, age_s: float) -> float:
        """Return the wait before the next inquiry of an order whose ladder has ended."""
        wait_s = _paced(self.parked, age_s)
        assert wait_s is not None, "the last rung has no end"
        return wait_s


def _paced(rungs: tuple[tuple[float, float], ...], age_s: float) -> float | None:
    return next((every for every, until in rungs if age_s < until), None)


PRODUCTION = InquirySchedule(steps=(5, 15, 30, 60, 120, 300), tail=((900, 86_400), (3_600, 259_200)))
SANDBOX = InquirySchedule(steps=(0.5, 1, 2, 4), tail=((5, 259_200),))
