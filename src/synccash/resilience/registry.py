"""The breakers of a process by name, made when they are first asked for."""

import time
from collections.abc import Callable, Mapping
from random import random as uniform
from threading import RLock

from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.profiles import PROFILES, Profile, profile_of

_MOST = 1_000


class Registry:
    """Live and shared: one breaker for each `service:operation`. Names are read in any case, in any thread.

    `profiles`: by `service:operation`, else `service:*`, else `service`, else `*`. A bare service name means
    its collect breaker, unless `profiles` has that very name. At most `most` breakers are kept, and budgets:
    the closed one that was asked for longest ago makes room, one that refuses never does. Raises ValueError
    for profiles without `*`.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile] = PROFILES,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
        most: int = _MOST,
    ) -> None:
        if "*" not in profiles:
            raise ValueError('profiles needs "*", for what has no profile of its own')
        if most < 1:
            raise ValueError("most must be at least 1")
        self.clock = clock
        self.random = random
        self._profiles = {name.strip().lower(): profile for name, profile in profiles.items()}
        self._most = most
        self._lock = RLock()
        self._breakers: dict[str, CircuitBreaker] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._watchers: list[Callable[[CircuitBreaker], None]] = []

    def profile(self, name: str) -> Profile:
        """The profile of a breaker's name."""
        return profile_of(self._profiles, self.full_name(name))

    def full_name(self, name: str) -> str:
        """`MTN_MOMO` is `mtn_momo:collect`."""
        name = name.strip().lower()
        return name if ":" in name or name in self._profiles else f"{name}:collect"

    def _new_name(self, name: str) -> str:
        full = self.full_name(name)
        if full.startswith(":"):
            raise ValueError(f"a name begins with its service, as in mtn_momo:collect; not {name!r}")
        return full

    def breaker(self, name: str) -> CircuitBreaker:
        """The breaker of a name. Raises ValueError where none of too many can go: a name is no input."""
        name = self._new_name(name)
        with self._lock:
            breaker = self._breakers.pop(name, None)
            if breaker is None:
                self._make_room()
                settings = self.profile(name).breaker
                breaker = CircuitBreaker(name, settings, clock=self.clock, random=self.random)
                self._breakers[name] = breaker
                for watcher in self._watchers:
                    watcher(breaker)
            else:
                self._breakers[name] = breaker
            return breaker

    def _make_room(self) -> None:
        if len(self._breakers) < self._most:
            return
        for name, breaker in self._breakers.items():
            if breaker.state is BreakerState.CLOSED:
                del self._breakers[name]
                self._budgets.pop(name, None)
                return
        raise ValueError(f"{self._most} breakers refuse at once; are their names made from requests?")

    def budget(self, name: str) -> RetryBudget:
        """The retry budget that all policies of a name share, and how their calls ended."""
        name = self._new_name(name)
        with self._lock:
            budget = self._budgets.get(name)
            if budget is None:
                if len(self._budgets) >= self._most:
                    unused = (known for known in self._budgets if known not in self._breakers)
                    del self._budgets[next(unused, next(iter(self._budgets)))]
                budget = self._budgets[name] = RetryBudget(name, clock=self.clock)
            return budget

    def budgets(self) -> Mapping[str, RetryBudget]:
        """All budgets that were asked for, by name."""
        return dict(self._budgets)

    def watch(self, watcher: Callable[[CircuitBreaker], None]) -> None:
        """Call `watcher(breaker)` for each breaker that is known, and for each new one."""
        with self._lock:
            self._watchers.append(watcher)
            for breaker in self.breakers().values():
                watcher(breaker)

    def unwatch(self, watcher: Callable[[CircuitBreaker], None]) -> None:
        """Call it no more."""
        self._watchers.remove(watcher)

    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """All breakers that were asked for, by name."""
        return dict(self._breakers)

    def stand_in(self, other: "Registry") -> Callable[[], None]:
        """Be `other` until the returned function is called. See `synccash.resilience.testing`."""
        # Whoever imported this object keeps it; so what is replaced is what it consists of.
        before, self.__dict__ = self.__dict__, other.__dict__

        def end() -> None:
            self.__dict__ = before

        return end
