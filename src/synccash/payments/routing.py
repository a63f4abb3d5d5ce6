"""Chooses the rail of an order, with the reason. Pure: the state of each rail is an argument, so the same
arguments always give the same ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import log
from typing import Any

from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Environment, Operation

_SCALE = 1 << 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """The current state of a rail.

    `open_for_s`: how long its breaker still refuses; None = it admits calls. `health` from 0 to 1; an
    `unhealthy` rail gets no share of a split. `short_for_s`: how long its float is known to be too low for
    the order; None = it is not. `unconfirmed`: the operator has to confirm the account's new credentials
    first.
    """

    rail: str
    capabilities: Capabilities
    open_for_s: float | None = None
    health: float = 1.0
    unhealthy: bool = False
    short_for_s: float | None = None
    environment: Environment = Environment.TEST
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """The fee of a rail for one order: percent of the amount, plus a fixed part in pesewas."""

    percent: float = 0.0
    pesewas: float = 0.0

    def of(self, amount: int) -> float:
        """Return the cost in percent of `amount` pesewas."""
        return self.percent + (100.0 * self.pesewas / amount if amount > 0 else 0.0)


FREE = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPreferences:
    """The operator's preferences for one kind of order.

    `order`: the preferred rails, best first; each step down lowers the score by `preference_step`.
    `shares`: a split in percent; its rails rank before all others, as long as they are not unhealthy.
    `costs`: each percent of cost above the cheapest rail lowers the score by `cost_weight`.
    """

    order: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    costs: Mapping[str, Cost] = field(default_factory=dict[str, Cost])
    preference_step: float = 0.1
    cost_weight: float = 0.05


NO_PREFERENCES = RoutingPreferences()


@dataclass(frozen=True, slots=True)
class Route:
    """The routing decision. `chosen` is None when no rail can take the order: with `wait_s` until one may be
    available again, without it when none ever can. `considered` lists the available rails first, best
    first."""

    chosen: str | None
    considered: tuple[dict[str, Any], ...]
    reason: str
    wait_s: float | None = None

    def explained(self) -> dict[str, Any]:
        """Return the decision as it is stored on the payment."""
        return {"chosen": self.chosen, "considered": list(self.considered), "reason": self.reason}


RECOVERY_PROBE = "recovery_probe"
FLOAT_TOO_LOW = "float_too_low"
UNCONFIRMED = "account_unconfirmed"
"""Skip reason: the operator has not confirmed the rail's account yet."""
OTHER_MODE = "other_mode"
"""Skip reason: the environment of the rail's account does not match the order's mode."""
_UNCONFIRMED_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Ranked:
    candidate: Candidate
    position: int
    score: float
    ideal: float
    """The score that the rail would have at full health."""


def choose(
    candidates: Sequence[Candidate],
    *,
    network: Network | None,
    pinned: str | None = None,
    excluded: frozenset[str] = frozenset(),
    operation: Operation = Operation.COLLECT,
    amount: int = 0,
    key: str = "",
    preferences: RoutingPreferences = NO_PREFERENCES,
    probe: bool = False,
    environment: Environment = Environment.TEST,
) -> Route:
    """Rank the candidates that serve the network and admit calls; equal ones keep the order given.

    `pinned` allows only that rail; `excluded` are rails that the order must not use now. `key` identifies the
    payment: a split always sends the same payment to the same rail. `probe`: this payment may test whether
    the rail that would be first at full health has recovered. `environment`: that of the order's mode;
    accounts of the other one are never chosen.
    """
    eligible: list[Candidate] = []
    skipped_rails: list[dict[str, Any]] = []
    waits: list[float] = []
    for candidate in candidates:
        skipped, wait_s = why_not(candidate, network, pinned, excluded, operation, environment), None
        if skipped is None:
            skipped, wait_s = _why_not_now(candidate)
        if wait_s is not None:
            waits.append(wait_s)
        if skipped is None:
            eligible.append(candidate)
        else:
            skipped_rails.append({"rail": candidate.rail, "score": 0.0, "skipped": skipped})
    if not eligible:
        held = {one["skipped"] for one in skipped_rails}
        reasons = (UNCONFIRMED, FLOAT_TOO_LOW, "breaker_open")
        reason = next((one for one in reasons if one in held), "no_able_rail")
        reason = "all_breakers_open" if reason == "breaker_open" else reason
        return Route(None, tuple(skipped_rails), reason, min(waits, default=None))
    ranked = _scored(eligible, amount, preferences)
    actual = _in_order(ranked, key, preferences, ideal=False)
    reason = _reason(actual[0], actual, preferences, pinned)
    if probe and pinned is None:
        first = _in_order(ranked, key, preferences, ideal=True)[0]
        if first is not actual[0]:
            actual = [first, *(one for one in actual if one is not first)]
            reason = RECOVERY_PROBE
    considered = [{"rail": one.candidate.rail, "score": round(one.score, 3)} for one in actual]
    return Route(actual[0].candidate.rail, (*considered, *skipped_rails), reason)


def share_of(key: str, salt: str) -> float:
    """Return a number in (0, 1]: the same for a key in every process, and uniform over many keys."""
    digest = blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return (int.from_bytes(digest) + 1) / _SCALE


def _scored(eligible: Sequence[Candidate], amount: int, preferences: RoutingPreferences) -> list[_Ranked]:
    costs = (
        [preferences.costs.get(one.rail, FREE).of(amount) for one in eligible]
        if preferences.costs
        else [0.0] * len(eligible)
    )
    cheapest = min(costs)
    ranked: list[_Ranked] = []
    for position, (one, cost) in enumerate(zip(eligible, costs, strict=True)):
        less = preferences.cost_weight * (cost - cheapest)
        if preferences.order:
            rank = (
                preferences.order.index(one.rail) if one.rail in preferences.order else len(preferences.order)
            )
            less += preferences.preference_step * rank
        ranked.append(_Ranked(one, position, max(0.0, one.health - less), max(0.0, 1.0 - less)))
    return ranked


def _in_order(
    ranked: Sequence[_Ranked], key: str, preferences: RoutingPreferences, *, ideal: bool
) -> list[_Ranked]:
    def by_score(one: _Ranked) -> tuple[float, float, int]:
        if ideal:
            return -one.ideal, 0.0, one.position
        return -one.score, -one.candidate.health, one.position

    def within(one: _Ranked) -> bool:
        return preferences.shares.get(one.candidate.rail, 0.0) > 0 and (ideal or not one.candidate.unhealthy)

    def by_hash(one: _Ranked) -> float:
        # Weighted rendezvous hashing: when a rail drops out, only its own payments move to other rails.
        rail = one.candidate.rail
        return -log(share_of(key, rail)) / preferences.shares[rail]

    if not preferences.shares:
        return sorted(ranked, key=by_score)
    split = sorted((one for one in ranked if within(one)), key=by_hash)
    return split + sorted((one for one in ranked if not within(one)), key=by_score)


def _reason(
    first: _Ranked, ranked: Sequence[_Ranked], preferences: RoutingPreferences, pinned: str | None
) -> str:
    if pinned is not None:
        return "pinned"
    if len(ranked) == 1:
        return "only_able"
    in_split = preferences.shares.get(first.candidate.rail, 0.0) > 0 and not first.candidate.unhealthy
    return "split" if in_split else "best_score"


def is_available(candidate: Candidate) -> bool:
    """Return whether a rail that can take an order can take it now."""
    return _why_not_now(candidate) == (None, None)


def _why_not_now(candidate: Candidate) -> tuple[str | None, float | None]:
    """Return why a rail that can take an order cannot take it now, and for how many seconds."""
    if candidate.unconfirmed:
        return UNCONFIRMED, _UNCONFIRMED_WAIT_S
    if candidate.open_for_s is not None:
        return "breaker_open", candidate.open_for_s
    if candidate.short_for_s is not None:
        return FLOAT_TOO_LOW, candidate.short_for_s
    return None, None


def why_not(
    candidate: Candidate,
    network: Network | None,
    pinned: str | None,
    excluded: frozenset[str],
    operation: Operation,
    environment: Environment,
) -> str | None:
    """Return why a rail can never take an order; None when it can. The mode is checked last, so it is the
    reason only when there is no other."""
    if pinned is not None and candidate.rail != pinned:
        return "another_rail_pinned"
    if candidate.rail in excluded:
        return "already_tried"
    if operation not in candidate.capabilities.operations:
        return f"cannot_{operation.value}"
    if network is not None and network not in candidate.capabilities.networks:
        return "network_not_served"
    if candidate.environment is not environment:
        return OTHER_MODE
    return None
