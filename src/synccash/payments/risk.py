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
"""The metadata key of a payment that holds the payer's KYC tier."""
_MAX_KEYS = 100_000


class RiskOutcome(StrEnum):
    """The decision about a payment or payout, in the order of severity."""

    ALLOW = "allow"
    REVIEW = "review"
    """The order waits for a person."""
    DECLINE = "decline"

    @property
    def severity(self) -> int:
        """Rank from 0 (allow) to 2 (decline)."""
        return _SEVERITY[self]


_SEVERITY = {outcome: rank for rank, outcome in enumerate(RiskOutcome)}


@dataclass(frozen=True, slots=True)
class RiskDecision:
    """The outcome, and the reason code of every rule that applied."""

    outcome: RiskOutcome
    reasons: tuple[str, ...] = ()

    def with_(self, other: "RiskDecision") -> "RiskDecision":
        """Return the combined decision: the more severe outcome and all reasons."""
        severe = max(self.outcome, other.outcome, key=lambda outcome: outcome.severity)
        return RiskDecision(severe, self.reasons + other.reasons)

    def explained(self) -> dict[str, Any]:
        """Return the decision as it is stored on the timeline."""
        return {"outcome": self.outcome.value, "reasons": list(self.reasons)}


ALLOWED = RiskDecision(RiskOutcome.ALLOW)


@dataclass(frozen=True, slots=True)
class Velocity:
    """At most `most` within `window_s` seconds: a number of orders, or a sum in pesewas."""

    most: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRules:
    """The operator's rules; None switches a rule off. Amounts in pesewas, MSISDNs as 233….

    `allowed_payers` skip every other rule. `ceiling` is the largest allowed amount of one order; orders of
    `review_from` or more wait for review. `tiers` limit what a payer pays within `tier_window_s` by KYC tier
    (Bank of Ghana, March 2024: 3,000, 15,000 and 25,000 cedis a day for minimum, medium and enhanced):
    the merchant names the tier in the payment's metadata as `kyc_tier`, else it is `default_tier`. A tier
    above the default counts only if its merchant is in `tier_merchants`, or `*` is. A probable duplicate
    (same merchant, payer and amount within `duplicate_window_s`) gets the outcome `duplicate`.
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
    tier_merchants: frozenset[str] = frozenset()
    tier_window_s: float = 86_400.0
    duplicate_window_s: float | None = None
    duplicate: RiskOutcome = RiskOutcome.REVIEW

    def tier_limit(self, tier: str, merchant_id: str) -> Velocity | None:
        """Return the limit of a payer of whom this merchant says the tier; None when tiers are not limited.

        Any other merchant than those that the operator trusts can only lower its payers' limit.
        """
        default = self.tiers.get(self.default_tier)
        most = self.tiers.get(tier, default)
        if most is not None and default is not None and self.tier_merchants.isdisjoint((merchant_id, "*")):
            most = min(most, default)
        return None if most is None else Velocity(most, self.tier_window_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRules:
    """The operator's rules for payouts: `general`, and `merchants` that replace them for single merchants.

    They work like the rules for payments, with the payee as the wallet; tiers apply to payers only. The time
    windows are the same for all merchants.
    """

    general: RiskRules = field(default_factory=RiskRules)
    merchants: Mapping[str, RiskRules] = field(default_factory=dict[str, RiskRules])

    def of(self, merchant_id: str) -> RiskRules:
        """Return the rules for the payouts of one merchant."""
        return self.merchants.get(merchant_id, self.general)

    @property
    def longest_window_s(self) -> float:
        """The longest time window of any rule, in seconds; 0 when no rule has one."""
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
    """The fields of a payment or payout that the rules use. Two equal inputs are a request and its repeat.

    An equal reference is not enough: a request may be refused after it was allowed here, and its reference
    may then be used with another amount or payer. `payer` is the wallet that pays or is paid, as 233…;
    `amount` in pesewas.
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
        """Return the risk input of a payment or payout."""
        return RiskInput(
            order.merchant_id,
            order.livemode,
            order.reference,
            order.wallet.msisdn.digits,
            order.amount,
            order.metadata.get(TIER, "") if order.operation is Operation.COLLECT else "",
            order.operation,
        )


@dataclass(frozen=True, slots=True)
class _LimitedSum:
    """One limited count or sum, and how much an order adds to it."""

    key: tuple[str, str]
    limit: Velocity
    adds: int
    outcome: RiskOutcome
    reason: str


@dataclass(slots=True)
class _Window:
    """A sliding-window counter: the current window, and the previous one weighted by its remaining
    overlap."""

    began: float
    now: int = 0
    before: int = 0

    def sum(self, at: float, window_s: float) -> float:
        """Return the sum of the last `window_s` seconds, as if the previous window was filled evenly."""
        passed = int((at - self.began) // window_s)
        if passed > 0:
            self.before = self.now if passed == 1 else 0
            self.now, self.began = 0, self.began + passed * window_s
        return self.now + self.before * (1 - (at - self.began) / window_s)

    def subtract(self, counted_at: float, count: int, at: float, window_s: float) -> None:
        """Subtract what was counted at `counted_at`, if it still counts."""
        self.sum(at, window_s)
        if counted_at >= self.began:
            self.now = max(0, self.now - count)
        elif counted_at >= self.began - window_s:
            self.before = max(0, self.before - count)


@dataclass(slots=True)
class _StoredDecision:
    """A stored decision, counted at `at`. `requests`: how many requests may have opened the order or may
    still do so. `previous_at`: when a similar order was seen before it; None when none was."""

    decision: RiskDecision
    at: float
    is_counted: bool
    previous_at: float | None
    requests: int = 1


@dataclass(slots=True)
class VelocityCounters:
    """Counts the recent orders of this process, and those that other processes report (`receive`).

    `publish` sends the decisions of this process to the others, `publish_not_opened` the orders that were not
    opened after all; without them each process counts alone, so n processes allow up to n times the limit.
    Bounded: the least recently used keys are dropped.
    """

    rules: RiskRules
    payouts: PayoutRules = NO_PAYOUT_RULES
    publish: Callable[[RiskInput, RiskDecision], None] | None = None
    publish_not_opened: Callable[[RiskInput], None] | None = None
    _windows: OrderedDict[tuple[str, str], _Window] = field(
        default_factory=OrderedDict[tuple[str, str], _Window]
    )
    _last_seen: OrderedDict["_DuplicateKey", float] = field(
        default_factory=OrderedDict["_DuplicateKey", float]
    )
    _decided: OrderedDict[RiskInput, _StoredDecision] = field(
        default_factory=OrderedDict[RiskInput, _StoredDecision]
    )

    _idle: frozenset[Operation] = field(init=False)

    def __post_init__(self) -> None:
        idle = {Operation.COLLECT: self.rules == RiskRules(), Operation.PAYOUT: self.payouts.is_empty}
        self._idle = frozenset(operation for operation, is_idle in idle.items() if is_idle)

    @property
    def is_idle(self) -> bool:
        """True without any rule: every order is allowed, and nothing is stored."""
        return self._idle == frozenset((Operation.COLLECT, Operation.PAYOUT))

    def assess(self, order: Payment | Payout, at: float) -> RiskDecision:
        """Decide about a payment or payout at the monotonic time `at`, in seconds, and store the decision.

        A repeated request gets the same decision and is not counted again.
        """
        if order.operation in self._idle:
            return ALLOWED
        risk_input = RiskInput.of(order)
        known = self._decided.get(risk_input)
        if known is not None:
            known.requests += 1
            return known.decision
        decision = ALLOWED
        if risk_input.payer not in self._rules_for(risk_input).allowed_payers:
            for outcome, reason in self._matched_rules(risk_input, at):
                decision = decision.with_(RiskDecision(outcome, (reason,)))
        self._store(risk_input, decision, at)
        if self.publish is not None:
            self.publish(risk_input, decision)
        return decision

    def not_opened(self, order: Payment | Payout, at: float) -> None:
        """Undo one `assess` of an order that was then refused and not stored.

        Otherwise refused orders would use up the limits of a payer or payee, and a stored "allow" could be
        saved up for a later day.
        """
        risk_input = RiskInput.of(order)
        self.receive_not_opened(risk_input, at)
        if self.publish_not_opened is not None and risk_input.operation not in self._idle:
            self.publish_not_opened(risk_input)

    def receive_not_opened(self, risk_input: RiskInput, at: float) -> None:
        """Undo a decision that another process has undone."""
        known = self._decided.get(risk_input)
        if known is None:
            return
        known.requests -= 1
        if known.requests > 0:
            return
        del self._decided[risk_input]
        if not known.is_counted:
            return
        for limited in self._sums(risk_input):
            window = self._windows.get(limited.key)
            if window is not None:
                window.subtract(known.at, limited.adds, at, limited.limit.window_s)
        if self._last_seen.get(_duplicate_key(risk_input)) == known.at:
            del self._last_seen[_duplicate_key(risk_input)]
            if known.previous_at is not None:
                self._last_seen[_duplicate_key(risk_input)] = known.previous_at

    def receive(self, risk_input: RiskInput, decision: RiskDecision, at: float) -> None:
        """Store the decision of another process as if it was made here."""
        if risk_input.operation not in self._idle and risk_input not in self._decided:
            self._store(risk_input, decision, at)

    def _rules_for(self, risk_input: RiskInput) -> RiskRules:
        if risk_input.operation is Operation.PAYOUT:
            return self.payouts.of(risk_input.merchant_id)
        return self.rules

    def _matched_rules(self, risk_input: RiskInput, at: float) -> list[tuple[RiskOutcome, str]]:
        rules, amount, payer = self._rules_for(risk_input), risk_input.amount, risk_input.payer
        last = self._last_seen.get(_duplicate_key(risk_input))
        is_duplicate = rules.duplicate_window_s is not None and (
            last is not None and at - last < rules.duplicate_window_s
        )
        is_above = rules.ceiling is not None and amount > rules.ceiling
        is_large = rules.review_from is not None and amount >= rules.review_from
        checks = (
            (payer in rules.blocked_payers, RiskOutcome.DECLINE, f"{_wallet(risk_input)}_blocked"),
            (is_above, RiskOutcome.DECLINE, "above_ceiling"),
            (is_large, RiskOutcome.REVIEW, "large_amount"),
            (is_duplicate, rules.duplicate, "looks_like_a_double"),
            *(
                (self._exceeds(limited, at), limited.outcome, limited.reason)
                for limited in self._sums(risk_input)
            ),
        )
        return [(outcome, reason) for applies, outcome, reason in checks if applies]

    def _sums(self, risk_input: RiskInput) -> Iterator[_LimitedSum]:
        """Yield the limited counts and sums of this order, and how much it adds to each."""
        rules, amount, wallet = self._rules_for(risk_input), risk_input.amount, _wallet(risk_input)
        # Test orders are counted apart from live ones.
        mode = "live" if risk_input.livemode else "test"
        payer, merchant = f"{mode}:{risk_input.payer}", f"{mode}:{risk_input.merchant_id}"
        tier = rules.tier_limit(risk_input.tier, risk_input.merchant_id)
        decline, review = RiskOutcome.DECLINE, RiskOutcome.REVIEW
        for kind, owner, limit, adds, outcome, reason in (
            ("payer_count", payer, rules.payer_count, 1, decline, f"{wallet}_too_often"),
            ("payer_amount", payer, rules.payer_amount, amount, decline, f"{wallet}_too_much"),
            ("payer_tier", payer, tier, amount, decline, "above_tier_ceiling"),
            ("merchant_count", merchant, rules.merchant_count, 1, review, "merchant_too_often"),
            ("merchant_amount", merchant, rules.merchant_amount, amount, review, "merchant_too_much"),
        ):
            if limit is not None:
                yield _LimitedSum(
                    (f"{risk_input.operation.value}:{kind}", owner), limit, adds, outcome, reason
                )

    def _exceeds(self, limited: _LimitedSum, at: float) -> bool:
        """Return True when the order would exceed the limit."""
        window = self._windows.get(limited.key)
        return (window.sum(at, limited.limit.window_s) if window else 0) + limited.adds > limited.limit.most

    def _store(self, risk_input: RiskInput, decision: RiskDecision, at: float) -> None:
        # A declined payout must not use up the limit of its payee. A declined payment is counted, so that a
        # payer cannot get around the limit by repeated tries.
        is_uncounted = risk_input.operation is Operation.PAYOUT and decision.outcome is RiskOutcome.DECLINE
        previous_at = self._last_seen.get(_duplicate_key(risk_input))
        for limited in () if is_uncounted else self._sums(risk_input):
            window = self._windows.setdefault(limited.key, _Window(at))
            window.sum(at, limited.limit.window_s)
            window.now += limited.adds
            self._windows.move_to_end(limited.key)
        if self._rules_for(risk_input).duplicate_window_s is not None and not is_uncounted:
            self._last_seen[_duplicate_key(risk_input)] = at
            self._last_seen.move_to_end(_duplicate_key(risk_input))
        self._decided[risk_input] = _StoredDecision(
            decision, at, is_counted=not is_uncounted, previous_at=previous_at
        )
        for memory in (self._windows, self._last_seen, self._decided):
            while len(memory) > _MAX_KEYS:
                memory.popitem(last=False)


_DuplicateKey = tuple[Operation, str, bool, str, int]


def _duplicate_key(risk_input: RiskInput) -> _DuplicateKey:
    """Return the fields that two probable duplicates have in common."""
    return (
        risk_input.operation,
        risk_input.merchant_id,
        risk_input.livemode,
        risk_input.payer,
        risk_input.amount,
    )


def _wallet(risk_input: RiskInput) -> str:
    """Return the prefix of the wallet in reason codes."""
    return "payee" if risk_input.operation is Operation.PAYOUT else "payer"
