"""Leave to probe one breaker, for one process of the fleet at a time."""

from collections.abc import Callable

START_S = 5.0
"""How long a granted lease waits for a call; then others may have it."""
_DENIED_S = 0.25
_ALONE_S = 1.0


class ProbeLease:
    """Live: one per breaker, asked on the way of a call and answered from what is known.

    `ask` begins to find out and returns at once; `alone` says that there is nobody to ask. A grant that no
    call came for lets the next call through while it is asked for anew: a breaker with one call a minute
    would not recover otherwise.
    """

    __slots__ = ("_alone", "_ask", "_clock", "_denied_until", "_lapsed", "asking", "granted_until", "used")

    def __init__(
        self, ask: Callable[[], None], alone: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._alone = alone
        self._clock = clock
        self.asking = False
        self.used = False
        self._lapsed = False
        self.granted_until = self._denied_until = 0.0

    def __call__(self) -> bool:
        """Whether this process may probe now."""
        now = self._clock()
        if now < self.granted_until or self._alone():
            self.used = True
            return True
        if self.asking or now < self._denied_until:
            return False
        self.asking = True
        self._ask()
        lapsed, self._lapsed = self._lapsed, False
        return lapsed

    def granted(self, *, shared: bool = True) -> None:
        """It is ours; or, not `shared`, nobody answered and each process is on its own."""
        self.granted_until = self._clock() + (START_S if shared else _ALONE_S)
        self.used = False

    def denied(self) -> None:
        """Another process has it."""
        self._denied_until = self._clock() + _DENIED_S
        self._lapsed = False

    def lapse(self) -> None:
        """Nobody came for it."""
        self.granted_until = 0.0
        self._lapsed = True

    def forget(self) -> None:
        """The breaker's state has changed: earlier answers say nothing."""
        self.granted_until = self._denied_until = 0.0
        self._lapsed = False
