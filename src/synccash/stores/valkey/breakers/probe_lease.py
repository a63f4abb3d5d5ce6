"""The probe lease: only one process at a time may probe a half-open breaker."""

from collections.abc import Callable

START_S = 5.0
"""How long a granted lease waits for a call, in seconds; then other processes may get it."""
_DENIED_S = 0.25
_ALONE_S = 1.0


class ProbeLease:
    """Decides whether this process may probe an open breaker. One per breaker. Uses local state, without I/O.

    `request` starts a request for the lease and returns at once; `alone` returns whether Valkey is
    unreachable. After a granted lease ended without a call, the next call may probe while the lease is
    requested again: otherwise a breaker with one call a minute would never recover.
    """

    __slots__ = (
        "_alone",
        "_clock",
        "_denied_until",
        "_lapsed",
        "_request",
        "granted_until",
        "requested",
        "used",
    )

    def __init__(
        self, request: Callable[[], None], alone: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._request = request
        self._alone = alone
        self._clock = clock
        self.requested = False
        self.used = False
        self._lapsed = False
        self.granted_until = self._denied_until = 0.0

    def __call__(self) -> bool:
        """Return whether this process may probe now."""
        now = self._clock()
        if now < self.granted_until or self._alone():
            self.used = True
            return True
        if self.requested or now < self._denied_until:
            return False
        self.requested = True
        self._request()
        lapsed, self._lapsed = self._lapsed, False
        return lapsed

    def granted(self, *, shared: bool = True) -> None:
        """Grant the lease to this process; not `shared`: Valkey did not answer, so each process decides
        alone."""
        self.granted_until = self._clock() + (START_S if shared else _ALONE_S)
        self.used = False

    def denied(self) -> None:
        """Record that another process has the lease."""
        self._denied_until = self._clock() + _DENIED_S
        self._lapsed = False

    def lapse(self) -> None:
        """End a grant that no call used."""
        self.granted_until = 0.0
        self._lapsed = True

    def reset(self) -> None:
        """Drop earlier answers: the state of the breaker has changed."""
        self.granted_until = self._denied_until = 0.0
        self._lapsed = False
