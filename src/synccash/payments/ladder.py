"""When to ask a rail again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ladder:
    """The waits between inquiries, in seconds: first each of `steps`, then `(every, until_age)` in turn.

    Ages count from the attempt's start. After the last rung only a human or a callback goes on.
    """

    steps: tuple[float, ...]
    tail: tuple[tuple[float, float], ...]

    def wait_s(self, inquiries: int, age_s: float) -> float | None:
        """Return the wait before the next inquiry after `inquiries` of them, or None at the ladder's end."""
        if inquiries < len(self.steps):
            return self.steps[inquiries]
        return next((every for every, until in self.tail if age_s < until), None)


PRODUCTION = Ladder(steps=(5, 15, 30, 60, 120, 300), tail=((900, 86_400), (3_600, 259_200)))
SANDBOX = Ladder(steps=(0.5, 1, 2, 4), tail=((5, 259_200),))
