"""Risk rules for payments and payouts, decided in process without any input or output."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from synccash.payments.payment import Payment
from synccash.payments.payout import Payout
from synccash.payments.rail import Operation

TIER = "kyc_tier"
"""The key of a payment's metadata that says how well its payer is known."""
_REMEMBERED = 100_000


class RiskOutcome(StrEnum):
    """What becomes of a payment or payout. In the order of severity."""

    ALLOW = "allow"
    REVIEW = "review"
    """It waits for a human."""
    DECLINE = "decline"

    @property
    def severity(self) -> int:
        """Rank from 0 (allow) to 2 (decline)."""
        return _SEVERITY[self]


_SEVERITY = {outcome: rank for rank, outcome in enumerate(RiskOutcome)}


@dataclass(frozen=True, slots=True)
class RiskDecision:
    """The outcome, and every rule that spoke."""

    outcome: RiskOutcome
    reasons: tuple[str, ...] = ()

    def with_(self, other: "RiskDecision") -> "RiskDecision":
        """Return both decisions together: the more severe outcome, all reasons."""
        severe = max(self.outcome, other.outcome, key=lambda outcome: outcome.severity)
        return RiskDecision(severe, self.reasons + other.reasons)

    def explained(self) -> dict[str, Any]:
        """The decision as it is kept on the timeline."""
        return {"outcome": self.outcome.value, "reasons": list(self.reasons)}


ALLOWED = RiskDecision(RiskOutcome.ALLOW)


@dataclass(frozen=True, slots=True)
class Velocity:
    """At most `most` within `window_s` seconds: payments, or pesewas where it limits amounts."""

    most: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRules:
    """The operator's rules; None switches a rule off. Amounts in pesewas, MSISDNs as 233….

    `allowed_payers` pass every other rule. `ceiling` is the most that one payment may ask for; `review_from`
    sends larger ones to a human. `tiers` limit what a payer pays within `tier_window_s` by how well he is
    known (Bank of Ghana, March 2024: 3,000, 15,000 and 25,000 cedis a day for minimum, medium and enhanced):
    the merchant names the tier in the payment's metadata as `kyc_tier`, else it is `default_tier`. A payment
    that looks like a double (same merchant, payer and amount within `duplicate_window_s`) gets the outcome
    `duplicate`.
    """

    blocked_payers: frozenset[str] = frozenset()
    allowed_payers: frozenset[str] = frozenset()
    ceiling: int | None = None
    review_from: int | None = None
    payer_count: Velocity | None = None
    payer_amount: Velocity | None = None
    merchant_count: Velocity | None = None
    merchant_amount: Velocity | None = None
    tiers: Mapping[str, int] = field(default_factory=dict[str, int])
    default_tier: str = ""
    tier_window_s: float = 86_400.0
    duplicate_window_s: float | None = None
    duplicate: RiskOutcome = RiskOutcome.REVIEW

    def tier_limit(self, tier: str) -> Velocity | None:
        """What a payer of this tier may pay in a time; None where tiers are not limited."""
        most = self.tiers.get(tier, self.tiers.get(self.default_tier))
        return None if most is None else Velocity(most, self.tier_window_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRules:
    """The operator's rules for payouts: `general` ones, and those of single merchants in their place.

    They are a payment's rules with the payee as the wallet; tiers are for payers alone. What counts over time
    has the same windows for all merchants.
    """

    general: RiskRules = field(default_factory=RiskRules)
    merchants: Mapping[str, RiskRules] = field(default_factory=dict[str, RiskRules])

    def of(self, merchant_id: str) -> RiskRules:
        """The rules for the payouts of one merchant."""
        return self.merchants.get(merchant_id, self.general)

    @property
    def longest_window_s(self) -> float:
        """The longest time over which any of the rules counts; 0 where none does."""
        every = (self.general, *self.merchants.values())
        sums = (
            s for r in every for s in (r.payer_count, r.payer_amount, r.merchant_count, r.merchant_amount)
        )
        windows = [limit.window_s for limit in sums if limit is not None]
        return max((*windows, *(rules.duplicate_window_s or 0.0 for rules in every)))

    @property
    def is_empty(self) -> bool:
        """True without any rule."""
        return all(rules == RiskRules() for rules in (self.general, *self.merchants.values()))


NO_PAYOUT_RULES = PayoutRules()


@dataclass(frozen=True, slots=True)
class RiskInput:
    """All of a payment or payout that the rules look at. Two that are equal are one request and its repeat.

    Not the reference alone makes them so: a request may be refused after it was allowed here, and leave its
    reference to another amount or payer. `payer` is the wallet that pays or is paid, as 233…; `amount` in
    pesewas.
    """

    merchant_id: str
    livemode: bool
    reference: str
    payer: str
    amount: int
    tier: str
    operation: Operation = Operation.COLLECT

    @staticmethod
    def of(order: Payment | Payout) -> "RiskInput":
        """What is looked at of this payment or payout."""
        is_payment = isinstance(order, Payment)
        return RiskInput(
            order.merchant_id,
            order.livemode,
            order.reference,
            order.payer.msisdn.digits if is_payment else order.payee.msisdn.digits,
            order.amount,
            order.metadata.get(TIER, "") if is_payment else "",
            Operation.COLLECT if is_payment else Operation.PAYOUT,
        )


@dataclass(frozen=True, slots=True)
class _Sum:
    """One count or sum that is limited over time."""

    key: tuple[str, str]
    limit: Velocity
    adds: int
    outcome: RiskOutcome
    reason: str


@dataclass(slots=True)
class _Window:
    """Two counters that slide: the present window, and what is left of the one before."""

    began: float
    now: int = 0
    before: int = 0

    def sum(self, at: float, window_s: float) -> float:
        """What lies in the last `window_s` seconds, assuming that the former window was filled evenly."""
        passed = int((at - self.began) // window_s)
        if passed > 0:
            self.before = self.now if passed == 1 else 0
            self.now, self.began = 0, self.began + passed * window_s
        return self.now + self.before * (1 - (at - self.began) / window_s)

    def take_back(self, counted_at: float, count: int, at: float, window_s: float) -> None:
        """Take out again what was counted at `counted_at`, where it still counts."""
        self.sum(at, window_s)
        if counted_at >= self.began:
            self.now = max(0, self.now - count)
        elif counted_at >= self.began - window_s:
            self.before = max(0, self.before - count)


@dataclass(slots=True)
class _Decided:
    """A decision that is remembered. `requests` may have opened the order, or may open it yet; what was
    counted for it was counted at `at`. `double_of` is when an order that looks like it was seen before."""

    decision: RiskDecision
    at: float
    is_counted: bool
    double_of: float | None
    requests: int = 1


@dataclass(slots=True)
class VelocityCounters:
    """Live: what this process has seen lately, and what it was told of others' payments (`heard`).

    `tell` passes on what is decided here, `take_back` what was not opened after all; without them each
    process counts for itself, so with n processes up to n times as much passes. Bounded: the keys that were
    quiet for longest are forgotten.
    """

    rules: RiskRules
    payouts: PayoutRules = NO_PAYOUT_RULES
    tell: Callable[[RiskInput, RiskDecision], None] | None = None
    take_back: Callable[[RiskInput], None] | None = None
    _windows: OrderedDict[tuple[str, str], _Window] = field(
        default_factory=OrderedDict[tuple[str, str], _Window]
    )
    _seen: OrderedDict["_Likeness", float] = field(default_factory=OrderedDict["_Likeness", float])
    _decided: OrderedDict[RiskInput, _Decided] = field(default_factory=OrderedDict[RiskInput, _Decided])

    _idle: frozenset[Operation] = field(init=False)

    def __post_init__(self) -> None:
        idle = {Operation.COLLECT: self.rules == RiskRules(), Operation.PAYOUT: self.payouts.is_empty}
        self._idle = frozenset(operation for operation, is_idle in idle.items() if is_idle)

    @property
    def is_idle(self) -> bool:
        """True without any rule: everything passes, and nothing is remembered."""
        return self._idle == frozenset((Operation.COLLECT, Operation.PAYOUT))

    def assess(self, order: Payment | Payout, at: float) -> RiskDecision:
        """Decide about a payment or payout at the monotonic time `at`, in seconds, and remember it.

        A repeat of a request is told the same and counts no second time.
        """
        if (Operation.COLLECT if isinstance(order, Payment) else Operation.PAYOUT) in self._idle:
            return ALLOWED
        sighting = RiskInput.of(order)
        known = self._decided.get(sighting)
        if known is not None:
            known.requests += 1
            return known.decision
        decision = ALLOWED
        if sighting.payer not in self._rules_for(sighting).allowed_payers:
            for outcome, reason in self._spoken(sighting, at):
                decision = decision.with_(RiskDecision(outcome, (reason,)))
        self._remember(sighting, decision, at)
        if self.tell is not None:
            self.tell(sighting, decision)
        return decision

    def not_opened(self, order: Payment | Payout, at: float) -> None:
        """Take back one `assess` of an order that was then refused and left nothing behind.

        Otherwise whoever is refused could save up the allowances of many days, or use up those of a payee.
        """
        sighting = RiskInput.of(order)
        self.heard_not_opened(sighting, at)
        if self.take_back is not None and sighting.operation not in self._idle:
            self.take_back(sighting)

    def heard_not_opened(self, sighting: RiskInput, at: float) -> None:
        """Take back what another process has taken back."""
        known = self._decided.get(sighting)
        if known is None:
            return
        known.requests -= 1
        if known.requests > 0:
            return
        del self._decided[sighting]
        if not known.is_counted:
            return
        for sum_ in self._sums(sighting):
            window = self._windows.get(sum_.key)
            if window is not None:
                window.take_back(known.at, sum_.adds, at, sum_.limit.window_s)
        if self._seen.get(_looks(sighting)) == known.at:
            del self._seen[_looks(sighting)]
            if known.double_of is not None:
                self._seen[_looks(sighting)] = known.double_of

    def heard(self, sighting: RiskInput, decision: RiskDecision, at: float) -> None:
        """Remember what another process has decided, as if it had been here."""
        if sighting.operation not in self._idle and sighting not in self._decided:
            self._remember(sighting, decision, at)

    def _rules_for(self, sighting: RiskInput) -> RiskRules:
        if sighting.operation is Operation.PAYOUT:
            return self.payouts.of(sighting.merchant_id)
        return self.rules

    def _spoken(self, sighting: RiskInput, at: float) -> list[tuple[RiskOutcome, str]]:
        rules, amount, payer = self._rules_for(sighting), sighting.amount, sighting.payer
        last = self._seen.get(_looks(sighting))
        is_double = rules.duplicate_window_s is not None and (
            last is not None and at - last < rules.duplicate_window_s
        )
        is_above = rules.ceiling is not None and amount > rules.ceiling
        is_large = rules.review_from is not None and amount >= rules.review_from
        checks = (
            (payer in rules.blocked_payers, RiskOutcome.DECLINE, f"{_wallet(sighting)}_blocked"),
            (is_above, RiskOutcome.DECLINE, "above_ceiling"),
            (is_large, RiskOutcome.REVIEW, "large_amount"),
            (is_double, rules.duplicate, "looks_like_a_double"),
            *((self._passes(sum_, at), sum_.outcome, sum_.reason) for sum_ in self._sums(sighting)),
        )
        return [(outcome, reason) for spoken, outcome, reason in checks if spoken]

    def _sums(self, sighting: RiskInput) -> Iterator[_Sum]:
        """What is counted over time, and how much this order adds to each."""
        rules, amount, wallet = self._rules_for(sighting), sighting.amount, _wallet(sighting)
        # What is tried in test mode counts against nobody's money.
        mode = "live" if sighting.livemode else "test"
        payer, merchant = f"{mode}:{sighting.payer}", f"{mode}:{sighting.merchant_id}"
        tier = rules.tier_limit(sighting.tier)
        decline, review = RiskOutcome.DECLINE, RiskOutcome.REVIEW
        for kind, who, limit, adds, outcome, reason in (
            ("payer_count", payer, rules.payer_count, 1, decline, f"{wallet}_too_often"),
            ("payer_amount", payer, rules.payer_amount, amount, decline, f"{wallet}_too_much"),
            ("payer_tier", payer, tier, amount, decline, "above_tier_ceiling"),
            ("merchant_count", merchant, rules.merchant_count, 1, review, "merchant_too_often"),
            ("merchant_amount", merchant, rules.merchant_amount, amount, review, "merchant_too_much"),
        ):
            if limit is not None:
                yield _Sum((f"{sighting.operation.value}:{kind}", who), limit, adds, outcome, reason)

    def _passes(self, sum_: _Sum, at: float) -> bool:
        """True when this much more would pass the limit."""
        window = self._windows.get(sum_.key)
        return (window.sum(at, sum_.limit.window_s) if window else 0) + sum_.adds > sum_.limit.most

    def _remember(self, sighting: RiskInput, decision: RiskDecision, at: float) -> None:
        # A payout that was declined has cost nothing and must not use up its payee's day; a payment that was
        # declined counts, so that a payer cannot wear the limit down.
        is_lost = sighting.operation is Operation.PAYOUT and decision.outcome is RiskOutcome.DECLINE
        double_of = self._seen.get(_looks(sighting))
        for sum_ in () if is_lost else self._sums(sighting):
            window = self._windows.setdefault(sum_.key, _Window(at))
            window.sum(at, sum_.limit.window_s)
            window.now += sum_.adds
            self._windows.move_to_end(sum_.key)
        if self._rules_for(sighting).duplicate_window_s is not None and not is_lost:
            self._seen[_looks(sighting)] = at
            self._seen.move_to_end(_looks(sighting))
        self._decided[sighting] = _Decided(decision, at, is_counted=not is_lost, double_of=double_of)
        for memory in (self._windows, self._seen, self._decided):
            while len(memory) > _REMEMBERED:
                memory.popitem(last=False)


_Likeness = tuple[Operation, str, bool, str, int]


def _looks(sighting: RiskInput) -> _Likeness:
    """What two orders have in common that look like a double."""
    return (sighting.operation, sighting.merchant_id, sighting.livemode, sighting.payer, sighting.amount)


def _wallet(sighting: RiskInput) -> str:
    """The word for the wallet in the reasons."""
    return "payee" if sighting.operation is Operation.PAYOUT else "payer"
