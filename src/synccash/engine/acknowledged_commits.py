"""The latest commits that the store has acknowledged to this process: a server that lacks one has lost it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

KEPT_S = 10.0
"""Longer than the time-out of a statement: a commit that was acknowledged earlier was in the store before the
statement of the latest one was sent, so a server that has the latest has it too."""


@dataclass(slots=True)
class AcknowledgedCommits:
    """Keeps the commits of the last seconds before the latest one."""

    clock: Callable[[], float]
    _commits: deque[tuple[float, str, int]] = field(default_factory=deque[tuple[float, str, int]])

    def note(self, order_id: str, version: int) -> None:
        """Note that the store has acknowledged this version of the order."""
        now = self.clock()
        self._commits.append((now, order_id, version))
        while self._commits[0][0] < now - KEPT_S:
            self._commits.popleft()

    def latest(self) -> Sequence[tuple[str, int]]:
        """Return the orders with their latest versions."""
        return list({order_id: version for _, order_id, version in self._commits}.items())
