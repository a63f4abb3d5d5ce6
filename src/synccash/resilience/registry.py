"""Registry of the policies, circuit breakers and retry budgets of a process, created on first use by name."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import random as uniform
from threading import RLock
from typing import NamedTuple, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from synccash.resilience._core.decorating import decorate
from synccash.resilience._core.live_parts import track
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.events import Event, EventHook, checked_hook
from synccash.resilience.policy import Policy, replace_parts
from synccash.resilience.profiles import PROFILES, Profile, profile_of
from synccash.resilience.verdict import Classifier, classify_by_evidence

_MAX_BREAKERS = 1_000
P = ParamSpec("P")
R = TypeVar("R")


class _PolicyKey(NamedTuple):
    name: str
    classify: Classifier | None
    idempotent: bool
    interrupt: bool


class _Forward:
    """Calls a policy as it is at the time of the call."""

    __slots__ = ("_policy", "name")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.name = policy.name

    def call(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self._policy.call(fn, *args, **kwargs)

    def call_sync(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._policy.call_sync(fn, *args, **kwargs)


class _RegistryPolicy(Policy):
    """A policy whose settings a registry may replace, also for functions that it decorates.

    A decorated function holds its policy's `call` itself, because reading it at each call takes 5 % longer.
    """

    __slots__ = ()

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        return decorate(_Forward(self), fn, interrupts=self._parts.interrupt)


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
        on_event: EventHook | None = None,
    ) -> None:
        self._profiles = _checked_profiles(profiles)
        if most < 1:
            raise ValueError("most must be at least 1")
        if default_operation is not None:
            default_operation = default_operation.strip().lower()
            if not default_operation or ":" in default_operation:
                raise ValueError('default_operation must be a word without ":", such as "send", or None')
        self.clock = clock
        self.random = random
        self._default_operation = default_operation
        self._on_event = checked_hook(on_event)
        self._most = most
        self._lock = RLock()
        self._breakers: dict[str, CircuitBreaker] = {}
        self._budgets: dict[str, RetryBudget] = {}
        # The first has every policy that anybody holds, the second keeps those that were used last alive.
        self._policies: WeakValueDictionary[_PolicyKey, Policy] = WeakValueDictionary()
        self._recent_policies: dict[_PolicyKey, Policy] = {}
        self._watchers: list[Callable[[CircuitBreaker], None]] = []
        track(self)

    @property
    def on_event(self) -> EventHook | None:
        """The hook for the events of all breakers and policies of the registry; may be replaced."""
        return self._on_event

    @on_event.setter
    def on_event(self, hook: EventHook | None) -> None:
        self._on_event = checked_hook(hook)

    def _forward_event(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

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
                breaker.listen(self._forward_event)
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

    def policy(
        self,
        name: str,
        *,
        classify: Classifier | None = None,
        idempotent: bool = False,
        interrupt: bool = True,
    ) -> Policy:
        """Return the policy of a name, with its profile, breaker and budget; creates it on first use.

        Its settings follow `reload`. All policies of a name share breaker and budget. Without `classify`, the
        profile's `Retry(on=…)` decides what is retried, else `classify_by_evidence`. Pass the same function
        each time, because another one makes another policy. Raises ValueError as `breaker` and Policy do.
        """
        key = _PolicyKey(self._checked_name(name), classify, idempotent, interrupt)
        with self._lock:
            breaker = self.breaker(key.name)
            policy = self._recent_policies.pop(key, None) or self._policies.get(key)
            if policy is None or policy.breaker is not breaker:
                built = self._build_policy(key, self._profiles, breaker, self.budget(key.name))
                if policy is None:
                    policy = self._policies[key] = built
                else:  # a full registry has dropped its former breaker
                    replace_parts(policy, built)
            self._recent_policies[key] = policy
            if len(self._recent_policies) > self._most:
                del self._recent_policies[next(iter(self._recent_policies))]
            return policy

    def policies(self) -> Sequence[Policy]:
        """Return all policies that are in use: those used last, and those that anybody else holds."""
        with self._lock:
            return list(self._policies.values())

    def reload(self, profiles: Mapping[str, Profile]) -> None:
        """Replace all profiles. Policies and breakers that exist follow at their next call.

        Breakers keep their state and counts (see `CircuitBreaker.reconfigure`). Raises ValueError, and
        changes nothing, if a policy cannot have its new profile.
        """
        profiles = _checked_profiles(profiles)
        with self._lock:
            live = list(self._policies.items())
            rebuilt = [
                (policy, self._build_policy(key, profiles, policy.breaker, policy.budget))
                for key, policy in live
            ]
            self._profiles = profiles
            for policy, other in rebuilt:
                replace_parts(policy, other)
            held = [policy.breaker for _, policy in live if policy.breaker is not None]
            breakers = {id(one): one for one in (*self._breakers.values(), *held)}
        for breaker in breakers.values():
            # Without the lock, because listeners may run. A loop, because another thread may reload too.
            while breaker.settings != (settings := profile_of(self._profiles, breaker.name).breaker):
                breaker.reconfigure(settings)

    def _build_policy(
        self,
        key: _PolicyKey,
        profiles: Mapping[str, Profile],
        breaker: CircuitBreaker | None,
        budget: RetryBudget,
    ) -> Policy:
        profile = profile_of(profiles, key.name)
        is_judged = key.classify is not None or profile.retry.on is not None
        return _RegistryPolicy(
            key.name,
            retry=profile.retry,
            breaker=breaker,
            budget=budget,
            attempt_timeout=profile.attempt_timeout,
            total_timeout=profile.total_timeout,
            interrupt=key.interrupt,
            idempotent=key.idempotent,
            classify=key.classify if is_judged else classify_by_evidence,
            on_event=self._forward_event,
            clock=self.clock,
            random=self.random,
        )

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


def _checked_profiles(profiles: Mapping[str, Profile]) -> Mapping[str, Profile]:
    if "*" not in profiles:
        raise ValueError('profiles needs "*", the profile of every other service')
    return {name.strip().lower(): profile for name, profile in profiles.items()}
