"""Registry of the circuit breakers and retry budgets of a process, created on first use by name."""

import time
from collections.abc import Callable, Mapping
from random import random as uniform
from threading import RLock

from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.profiles import PROFILES, Profile, profile_of

_MAX_BREAKERS = 1_000


class Registry:
    """Holds one breaker and one budget for each name. Shared and thread-safe; not a value.

    A name is a service, or one of its operations: `service:operation`. Names are case-insensitive.
    `profiles` are looked up by `service:operation`, then `service:*`, `service` and `*`. With
    `default_operation="send"`, a bare service name means `service:send`, unless `profiles` has an entry of
    that name; with None it stays bare. The registry holds at most `most` breakers and `most` budgets. A full
    registry drops the closed breaker that was used longest ago, and never one that is not closed. Raises
    ValueError for profiles without `*`.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile] = PROFILES,
        *,
        default_operation: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
        most: int = _MAX_BREAKERS,
    ) -> None:
        if "*" not in profiles:
            raise ValueError('profiles needs "*", the profile of every other service')
        if most < 1:
            raise ValueError("most must be at least 1")
        if default_operation is not None:
            default_operation = default_operation.strip().lower()
            if not default_operation or ":" in default_operation:
                raise ValueError('default_operation must be a word without ":", such as "send", or None')
        self.clock = clock
        self.random = random
        self._profiles = {name.strip().lower(): profile for name, profile in profiles.items()}
        self._default_operation = default_operation
        self._most = most
        self._lock = RLock()
        self._breakers: dict[str, CircuitBreaker] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._watchers: list[Callable[[CircuitBreaker], None]] = []

    def profile(self, name: str) -> Profile:
        """Return the profile of a breaker's name."""
        return profile_of(self._profiles, self.full_name(name))

    def full_name(self, name: str) -> str:
        """Return the name in lower case, with the default operation if it is bare: `SMS` is `sms:send`."""
        name, operation = name.strip().lower(), self._default_operation
        return name if operation is None or ":" in name or name in self._profiles else f"{name}:{operation}"

    def _checked_name(self, name: str) -> str:
        full = self.full_name(name)
        if not full or full.startswith(":"):
            raise ValueError(f"a name begins with its service, as in sms or sms:send, not {name!r}")
        return full

    def breaker(self, name: str) -> CircuitBreaker:
        """Return the breaker of a name; creates it on first use.

        Raises ValueError if the registry is full of breakers that are not closed: do not build names from
        requests.
        """
        name = self._checked_name(name)
        with self._lock:
            breaker = self._breakers.pop(name, None)
            if breaker is None:
                self._evict_closed()
                settings = self.profile(name).breaker
                breaker = CircuitBreaker(name, settings, clock=self.clock, random=self.random)
                self._breakers[name] = breaker
                for watcher in self._watchers:
                    watcher(breaker)
            else:
                self._breakers[name] = breaker
            return breaker

    def _evict_closed(self) -> None:
        if len(self._breakers) < self._most:
            return
        for name, breaker in self._breakers.items():
            if breaker.state is BreakerState.CLOSED:
                del self._breakers[name]
                self._budgets.pop(name, None)
                return
        raise ValueError(
            f"all {self._most} breakers are open or half-open: are their names made from requests?"
        )

    def budget(self, name: str) -> RetryBudget:
        """Return the retry budget that all policies of a name share; creates it on first use."""
        name = self._checked_name(name)
        with self._lock:
            budget = self._budgets.get(name)
            if budget is None:
                if len(self._budgets) >= self._most:
                    unused = (known for known in self._budgets if known not in self._breakers)
                    del self._budgets[next(unused, next(iter(self._budgets)))]
                budget = self._budgets[name] = RetryBudget(name, clock=self.clock)
            return budget

    def budgets(self) -> Mapping[str, RetryBudget]:
        """Return all budgets by name."""
        return dict(self._budgets)

    def watch(self, watcher: Callable[[CircuitBreaker], None]) -> None:
        """Call `watcher(breaker)` for each existing breaker, and for each new one."""
        with self._lock:
            self._watchers.append(watcher)
            for breaker in self.breakers().values():
                watcher(breaker)

    def unwatch(self, watcher: Callable[[CircuitBreaker], None]) -> None:
        """Stop calling `watcher`."""
        self._watchers.remove(watcher)

    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """Return all breakers by name."""
        return dict(self._breakers)

    def stand_in(self, other: "Registry") -> Callable[[], None]:
        """Behave as `other` until the returned function is called. See `synccash.resilience.testing`."""
        # Modules hold a reference to this object, so its contents are replaced instead of the object.
        before, self.__dict__ = self.__dict__, other.__dict__

        def end() -> None:
            self.__dict__ = before

        return end
