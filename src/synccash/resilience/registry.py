"""Registry of the policies, circuit breakers and retry budgets of a process, created on first use by name."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import random as uniform
from threading import RLock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.live_parts import track
from synccash.resilience._core.policy_settings import PolicySettings, waits_of
from synccash.resilience.breaker_settings import BreakerSettings, BreakerState
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.events import Event, EventHook, checked_hook, emit
from synccash.resilience.policy import Policy, build_changed, replace_parts, settings_of, use_clock
from synccash.resilience.profiles import PROFILES, Profile, own_profile_of, profile_of
from synccash.resilience.verdict import Classifier, classify_by_evidence

_MAX_BREAKERS = 1_000


class _PolicyKey(NamedTuple):
    name: str
    classify: Classifier | None
    idempotent: bool
    interrupt: bool


class _Added(NamedTuple):
    """A policy that was added, and the settings that it was made with.

    `breaker_settings`: those of its breaker; None if the registry had the breaker before.
    """

    policy: Policy
    settings: PolicySettings
    breaker_settings: BreakerSettings | None


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
        self._added: dict[str, _Added] = {}
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
                self._hold(breaker)
            else:
                self._breakers[name] = breaker
            return breaker

    def _hold(self, breaker: CircuitBreaker) -> None:
        self._breakers[breaker.name] = breaker
        breaker.listen(self._forward_event)
        for watcher in self._watchers:
            watcher(breaker)

    def _evict_closed(self) -> None:
        if len(self._breakers) < self._most:
            return
        added = {one.policy.breaker for one in self._added.values()}
        for name, breaker in self._breakers.items():
            if breaker.state is BreakerState.CLOSED and breaker not in added:
                del self._breakers[name]
                self._budgets.pop(name, None)
                return
        raise ValueError(
            f"all {self._most} breakers are open, half-open or of added policies: are their names made from "
            "requests?"
        )

    def budget(self, name: str) -> RetryBudget:
        """Return the retry budget that all policies of a name share; creates it on first use."""
        name = self._checked_name(name)
        with self._lock:
            budget = self._budgets.get(name)
            if budget is None:
                self._evict_budget()
                budget = self._budgets[name] = RetryBudget(name, clock=self.clock)
            return budget

    def _evict_budget(self) -> None:
        if len(self._budgets) < self._most:
            return
        added = {one.policy.budget.name for one in self._added.values()}
        names = [name for name in self._budgets if name not in added]
        unused = (name for name in names if name not in self._breakers)
        name = next(unused, next(iter(names), None))
        if name is not None:
            del self._budgets[name]

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
        each time, because another one makes another policy. The policy of a name that was added (`add`) is
        that one. Raises ValueError as `breaker` and Policy do, and for options of a policy that was added.
        """
        key = _PolicyKey(self._checked_name(name), classify, idempotent, interrupt)
        with self._lock:
            added = self._added.get(key.name)
            if added is not None:
                if key != _PolicyKey(key.name, None, idempotent=False, interrupt=True):
                    raise ValueError(
                        f"{key.name} was added to the registry: it has the options it was made with"
                    )
                return added.policy
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

    def add(self, policy: Policy) -> Policy:
        """Hold a policy that was made by hand, and return it: it is listed, observed and reloaded.

        If `profiles` has an entry for its name, other than `*`, its retry, time-outs and breaker get the
        settings of the entry, now and at each `reload`. Parts that it was made without stay away. Without an
        entry it has the settings that it was made with. Raises ValueError if the registry has another policy,
        breaker or budget of that name, or writes the name differently.
        """
        with self._lock:
            settings = settings_of(policy)
            self._check_new(policy)
            breaker = policy.breaker
            is_new = breaker is not None and breaker.name not in self._breakers
            added = _Added(policy, settings, breaker.settings if breaker is not None and is_new else None)
            parts = build_changed(
                policy,
                on_event=_joined(settings.on_event, self._forward_event),
                **self._reloaded(added, self._profiles),
            )
            if breaker is not None and is_new:
                self._evict_closed()
                self._hold(breaker)
            if policy.budget.name not in self._budgets:
                self._evict_budget()
                self._budgets[policy.budget.name] = policy.budget
            self._added[policy.name] = added
            replace_parts(policy, parts)
        self._reconfigure([breaker] if breaker is not None else [])
        return policy

    def _check_new(self, policy: Policy) -> None:
        if policy.name in self._added or any(one is policy for one in self._policies.values()):
            raise ValueError(f"the registry has a policy {policy.name} already")
        known: Sequence[tuple[str, Mapping[str, object], Policy | CircuitBreaker | RetryBudget | None]] = (
            ("policy", {}, policy),
            ("breaker", self._breakers, policy.breaker),
            ("budget", self._budgets, policy.budget),
        )
        for kind, held, part in known:
            if part is None:
                continue
            name = part.name
            if name != self._checked_name(name):
                raise ValueError(f"the registry writes {name!r} as {self.full_name(name)!r}: use that name")
            if held.get(name, part) is not part:
                raise ValueError(
                    f"the registry has another {kind} {name}: make the policy with "
                    f"{kind}=registry.{kind}({name!r}), or give it another name"
                )

    def _reloaded(self, added: _Added, profiles: Mapping[str, Profile]) -> Mapping[str, Any]:
        """Return the settings that an added policy has by these profiles."""
        made = added.settings
        profile = own_profile_of(profiles, made.name)
        retry, attempt_timeout, total_timeout = made.retry, made.attempt_timeout, made.total_timeout
        if profile is not None:
            if retry is not None:
                retry = profile.retry if profile.retry.on is not None else replace(profile.retry, on=retry.on)
            attempt_timeout = attempt_timeout and profile.attempt_timeout
            total_timeout = total_timeout and profile.total_timeout
        return {"retry": retry, "attempt_timeout": attempt_timeout, "total_timeout": total_timeout}

    def policies(self) -> Sequence[Policy]:
        """Return all policies that were added, those used last, and those that something else holds."""
        with self._lock:
            return [*(one.policy for one in self._added.values()), *self._policies.values()]

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
            changed = [
                (one.policy, build_changed(one.policy, **self._reloaded(one, profiles)))
                for one in self._added.values()
            ]
            self._profiles = profiles
            for policy, other in rebuilt:
                replace_parts(policy, other)
            for policy, parts in changed:
                replace_parts(policy, parts)
            held = [policy.breaker for policy, _ in rebuilt if policy.breaker is not None]
            breakers = {id(one): one for one in (*self._breakers.values(), *held)}
        self._reconfigure(breakers.values())

    def _reconfigure(self, breakers: Iterable[CircuitBreaker]) -> None:
        for breaker in breakers:
            # Without the lock, because listeners may run. A loop, because another thread may reload too.
            while breaker.settings != (settings := self._breaker_settings(breaker)):
                breaker.reconfigure(settings)

    def _breaker_settings(self, breaker: CircuitBreaker) -> BreakerSettings:
        profile = own_profile_of(self._profiles, breaker.name)
        if profile is None:
            for one in tuple(self._added.values()):
                if one.policy.breaker is breaker and one.breaker_settings is not None:
                    return one.breaker_settings
        return (profile or self._profiles["*"]).breaker

    def _build_policy(
        self,
        key: _PolicyKey,
        profiles: Mapping[str, Profile],
        breaker: CircuitBreaker | None,
        budget: RetryBudget,
    ) -> Policy:
        profile = profile_of(profiles, key.name)
        is_judged = key.classify is not None or profile.retry.on is not None
        return Policy(
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
            **waits_of(self.clock),
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

    def use_clock(self, clock: Clock) -> Callable[[], None]:
        """Create breakers, budgets and policies with this clock until the returned function is called. What
        was created then gets the former clock, and no past. See `synccash.resilience.testing`.
        """
        former, self.clock = self.clock, clock
        before = {id(one) for one in (*self._parts(), *self.policies())}

        def end() -> None:
            self.clock = former
            for part in self._parts():
                if id(part) not in before:
                    part.forget(former)
            for policy in self.policies():
                if id(policy) not in before:
                    use_clock(policy, former)

        return end

    def _parts(self) -> Iterable[CircuitBreaker | RetryBudget]:
        return (*self.breakers().values(), *self.budgets().values())

    def stand_in(self, other: "Registry") -> Callable[[], None]:
        """Behave as `other` until the returned function is called. See `synccash.resilience.testing`."""
        # Modules hold a reference to this object, so its contents are replaced instead of the object.
        before, self.__dict__ = self.__dict__, other.__dict__

        def end() -> None:
            self.__dict__ = before

        return end


def _joined(first: EventHook | None, second: EventHook) -> EventHook:
    """Return a hook that calls both; what one raises does not keep the event from the other."""
    if first is None:
        return second

    def both(event: Event) -> None:
        emit(first, event)
        emit(second, event)

    return both


def _checked_profiles(profiles: Mapping[str, Profile]) -> Mapping[str, Profile]:
    if "*" not in profiles:
        raise ValueError('profiles needs "*", the profile of every other service')
    return {name.strip().lower(): profile for name, profile in profiles.items()}
