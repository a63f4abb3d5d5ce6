"""The breakers of a process by name, made when they are first asked for."""

import time
from collections.abc import Callable, Mapping
from random import random as uniform

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.profiles import PROFILES, Profile

_MOST = 1_000


class Registry:
    """Live and shared: one breaker for each `service:operation`. Names are read in any case.

    A bare service name means its collect breaker, unless it has a profile of its own.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile] = PROFILES,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
    ) -> None:
        self._profiles = dict(profiles)
        self._clock = clock
        self._random = random
        self._breakers: dict[str, CircuitBreaker] = {}

    def profile(self, name: str) -> Profile:
        """The profile of a breaker's name."""
        service = self.full_name(name).partition(":")[0]
        return self._profiles.get(service, self._profiles["*"])

    def full_name(self, name: str) -> str:
        """`MTN_MOMO` is `mtn_momo:collect`."""
        name = name.strip().lower()
        return name if ":" in name or name in self._profiles else f"{name}:collect"

    def breaker(self, name: str) -> CircuitBreaker:
        """The breaker of a name. Raises ValueError when there are too many: a name is not made from input."""
        name = self.full_name(name)
        breaker = self._breakers.get(name)
        if breaker is None:
            if len(self._breakers) >= _MOST:
                raise ValueError(f"there are {_MOST} breakers already; is {name} made from a request?")
            breaker = self._breakers[name] = CircuitBreaker(
                name, self.profile(name).breaker, clock=self._clock, random=self._random
            )
        return breaker

    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """All breakers that were asked for, by name."""
        return dict(self._breakers)
