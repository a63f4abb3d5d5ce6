"""Which rail takes a payment, and why. Pure: what is known of each rail comes in as a value, so that the same
values always give the same ranking."""

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
    """A rail as it stands now. `open_for_s`: how long its breaker still refuses; None = it lets calls in.
    `health` from 0 to 1; an `ailing` one gets no share of a split. `short_for_s`: how long its float is known
    not to pay the order; None = it may. `unconfirmed`: the operator has to confirm its account's new
    credentials first."""

    rail: str
    capabilities: Capabilities
    open_for_s: float | None = None
    health: float = 1.0
    ailing: bool = False
    short_for_s: float | None = None
    environment: Environment = Environment.TEST
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What a rail takes for one order: a share of the amount in percent, and pesewas on top."""

    percent: float = 0.0
    pesewas: float = 0.0

    def of(self, amount: int) -> float:
        """The cost in percent of `amount` pesewas."""
        return self.percent + (100.0 * self.pesewas / amount if amount > 0 else 0.0)


FREE = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPreferences:
    """What the operator wants for one kind of order.

    `order`: the rails that he prefers, best first; each step down costs `preference_step` of the score.
    `shares`: a split in percent; what it names comes before everything else, as long as it is well.
    `costs`: one percent of cost above the cheapest costs `cost_weight` of the score.
    """

    order: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    costs: Mapping[str, Cost] = field(default_factory=dict[str, Cost])
    preference_step: float = 0.1
    cost_weight: float = 0.05


NO_WISHES = RoutingPreferences()


@dataclass(frozen=True, slots=True)
class Route:
    """The decision. `chosen` is None with `wait_s` where every able rail is held back for now, and None
    without it where no rail can ever take this payment. `considered` has the able ones first, best first."""

    chosen: str | None
    considered: tuple[dict[str, Any], ...]
    reason: str
    wait_s: float | None = None

    def explained(self) -> dict[str, Any]:
        """The decision as it is kept on the payment."""
        return {"chosen": self.chosen, "considered": list(self.considered), "reason": self.reason}


RECOVERY_PROBE = "recovery_probe"
FLOAT_TOO_LOW = "float_too_low"
UNCONFIRMED = "account_unconfirmed"
"""Why a rail is passed over until the operator has confirmed its account."""
OTHER_MODE = "other_mode"
"""Why a rail is passed over: its account is of the other environment than the order's mode."""
_UNCONFIRMED_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Ranked:
    candidate: Candidate
    place: int
    score: float
    ideal: float
    """The score that it would have in full health."""


def choose(
    candidates: Sequence[Candidate],
    *,
    network: Network | None,
    pinned: str | None = None,
    spent: frozenset[str] = frozenset(),
    operation: Operation = Operation.COLLECT,
    amount: int = 0,
    key: str = "",
    wishes: RoutingPreferences = NO_WISHES,
    probe: bool = False,
    environment: Environment = Environment.TEST,
) -> Route:
    """Rank the candidates that serve the network and let calls in; equal ones keep the order given.

    `pinned` leaves only that rail; `spent` are rails whose attempt at this payment is dead already. `key`
    names the payment: a split sends the same payment to the same rail whenever it is asked. `probe`: this
    payment may find out whether the rail that would be first in full health is well again. `environment`: of
    the order's mode; accounts of the other one are never chosen.
    """
    able: list[Candidate] = []
    passed: list[dict[str, Any]] = []
    waits: list[float] = []
    for candidate in candidates:
        skipped = why_not(candidate, network, pinned, spent, operation, environment)
        if skipped is None and candidate.unconfirmed:
            skipped = UNCONFIRMED
            waits.append(_UNCONFIRMED_WAIT_S)
        if skipped is None and candidate.open_for_s is not None:
            skipped = "breaker_open"
            waits.append(candidate.open_for_s)
        if skipped is None and candidate.short_for_s is not None:
            skipped = FLOAT_TOO_LOW
            waits.append(candidate.short_for_s)
        if skipped is None:
            able.append(candidate)
        else:
            passed.append({"rail": candidate.rail, "score": 0.0, "skipped": skipped})
    if not able:
        held = {one["skipped"] for one in passed}
        reasons = (UNCONFIRMED, FLOAT_TOO_LOW, "breaker_open")
        reason = next((one for one in reasons if one in held), "no_able_rail")
        reason = "all_breakers_open" if reason == "breaker_open" else reason
        return Route(None, tuple(passed), reason, min(waits, default=None))
    ranked = _scored(able, amount, wishes)
    actual = _in_order(ranked, key, wishes, ideal=False)
    reason = _reason(actual[0], actual, wishes, pinned)
    if probe and pinned is None:
        first = _in_order(ranked, key, wishes, ideal=True)[0]
        if first is not actual[0]:
            actual = [first, *(one for one in actual if one is not first)]
            reason = RECOVERY_PROBE
    considered = [{"rail": one.candidate.rail, "score": round(one.score, 3)} for one in actual]
    return Route(actual[0].candidate.rail, (*considered, *passed), reason)


def share_of(key: str, salt: str) -> float:
    """A number above 0 and up to 1 that is the same for a key whoever asks, and even over many keys."""
    digest = blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return (int.from_bytes(digest) + 1) / _SCALE


def _scored(able: Sequence[Candidate], amount: int, wishes: RoutingPreferences) -> list[_Ranked]:
    costs = (
        [wishes.costs.get(one.rail, FREE).of(amount) for one in able] if wishes.costs else [0.0] * len(able)
    )
    cheapest = min(costs)
    ranked: list[_Ranked] = []
    for place, (one, cost) in enumerate(zip(able, costs, strict=True)):
        less = wishes.cost_weight * (cost - cheapest)
        if wishes.order:
            rank = wishes.order.index(one.rail) if one.rail in wishes.order else len(wishes.order)
            less += wishes.preference_step * rank
        ranked.append(_Ranked(one, place, max(0.0, one.health - less), max(0.0, 1.0 - less)))
    return ranked


def _in_order(
    ranked: Sequence[_Ranked], key: str, wishes: RoutingPreferences, *, ideal: bool
) -> list[_Ranked]:
    def by_score(one: _Ranked) -> tuple[float, float, int]:
        if ideal:
            return -one.ideal, 0.0, one.place
        return -one.score, -one.candidate.health, one.place

    def within(one: _Ranked) -> bool:
        return wishes.shares.get(one.candidate.rail, 0.0) > 0 and (ideal or not one.candidate.ailing)

    def by_lot(one: _Ranked) -> float:
        # Rendezvous hashing with weights: who drops out leaves only its own payments to the others.
        rail = one.candidate.rail
        return -log(share_of(key, rail)) / wishes.shares[rail]

    if not wishes.shares:
        return sorted(ranked, key=by_score)
    split = sorted((one for one in ranked if within(one)), key=by_lot)
    return split + sorted((one for one in ranked if not within(one)), key=by_score)


def _reason(first: _Ranked, ranked: Sequence[_Ranked], wishes: RoutingPreferences, pinned: str | None) -> str:
    if pinned is not None:
        return "pinned"
    if len(ranked) == 1:
        return "only_able"
    in_split = wishes.shares.get(first.candidate.rail, 0.0) > 0 and not first.candidate.ailing
    return "split" if in_split else "best_score"


def why_not(
    candidate: Candidate,
    network: Network | None,
    pinned: str | None,
    spent: frozenset[str],
    operation: Operation,
    environment: Environment,
) -> str | None:
    """Say why a rail can never take an order; None where it can. The mode comes last: it is the reason only
    where there is no other."""
    if pinned is not None and candidate.rail != pinned:
        return "another_rail_pinned"
    if candidate.rail in spent:
        return "already_tried"
    if operation not in candidate.capabilities.operations:
        return f"cannot_{operation.value}"
    if network is not None and network not in candidate.capabilities.networks:
        return "network_not_served"
    if candidate.environment is not environment:
        return OTHER_MODE
    return None
