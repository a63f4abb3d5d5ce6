"""Decisions of the risk rules, one by one and combined."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_samples import PAYMENT, PAYOUT
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import Payment
from synccash.payments.payout import Payout
from synccash.payments.risk import (
    ALLOWED,
    PayoutRules,
    RiskDecision,
    RiskInput,
    RiskOutcome,
    RiskRules,
    Velocity,
    VelocityCounters,
)

PAYER = PAYMENT.payer.msisdn.digits
OTHER = replace(PAYMENT, payer=Payer(Msisdn.parse("0501234567")))


def of(amount: int):
    return replace(PAYMENT, amount=amount)


class Watch:
    """A watch to which every payment or payout is another one, with a reference of its own."""

    def __init__(self, rules: RiskRules, payouts: PayoutRules | None = None) -> None:
        self.watch = VelocityCounters(rules, payouts or PayoutRules())
        self.orders = count()

    def assess(self, payment: Payment | Payout, at: float) -> RiskDecision:
        return self.watch.assess(replace(payment, reference=f"order {next(self.orders)}"), at)


def test_without_rules_everything_passes():
    watch = Watch(RiskRules())
    assert {watch.assess(PAYMENT, float(at)) for at in range(100)} == {ALLOWED}


def test_a_blocked_payer_is_declined_with_the_reason():
    watch = Watch(RiskRules(blocked_payers=frozenset({PAYER})))
    assert watch.assess(PAYMENT, 0.0) == RiskDecision(RiskOutcome.DECLINE, ("payer_blocked",))
    assert watch.assess(OTHER, 0.0) == ALLOWED


def test_an_allowed_payer_passes_every_other_rule():
    watch = Watch(RiskRules(allowed_payers=frozenset({PAYER}), ceiling=1))
    assert watch.assess(PAYMENT, 0.0) == ALLOWED
    assert watch.assess(OTHER, 0.0).outcome is RiskOutcome.DECLINE


def test_large_payments_go_into_review_and_larger_ones_are_declined():
    watch = Watch(RiskRules(review_from=1_000, ceiling=2_000))
    outcomes = [watch.assess(of(amount), 0.0).outcome for amount in (999, 1_000, 2_000, 2_001)]
    assert outcomes == [RiskOutcome.ALLOW, RiskOutcome.REVIEW, RiskOutcome.REVIEW, RiskOutcome.DECLINE]


def test_an_allowed_reference_does_not_allow_another_amount_or_payer():
    # The first request may have been refused afterwards, as one whose key was used: its reference is free.
    watch = VelocityCounters(RiskRules(ceiling=1_000, blocked_payers=frozenset({OTHER.payer.msisdn.digits})))
    assert watch.assess(of(100), 0.0) == ALLOWED
    assert watch.assess(of(1_001), 0.0).reasons == ("above_ceiling",)
    assert watch.assess(replace(OTHER, amount=100), 0.0).reasons == ("payer_blocked",)


def test_the_number_of_payments_per_payer_and_period_is_limited():
    watch = Watch(RiskRules(payer_count=Velocity(3, 60.0)))
    outcomes = [watch.assess(PAYMENT, 0.0).outcome for _ in range(4)]
    assert outcomes == [RiskOutcome.ALLOW] * 3 + [RiskOutcome.DECLINE]
    assert watch.assess(OTHER, 0.0) == ALLOWED
    assert watch.assess(PAYMENT, 61.0).outcome is RiskOutcome.DECLINE
    assert watch.assess(PAYMENT, 300.0) == ALLOWED


def test_the_amount_per_payer_and_period_is_limited():
    watch = Watch(RiskRules(payer_amount=Velocity(5_000, 60.0)))
    assert [watch.assess(of(2_500), 0.0).reasons for _ in range(3)] == [(), (), ("payer_too_much",)]
    assert watch.assess(replace(OTHER, amount=2_500), 0.0) == ALLOWED
    assert watch.assess(of(2_500), 300.0) == ALLOWED


def test_an_unusual_number_of_payments_of_a_merchant_goes_into_review():
    watch = Watch(RiskRules(merchant_count=Velocity(2, 60.0)))
    decisions = [watch.assess(PAYMENT, 0.0), watch.assess(OTHER, 0.0), watch.assess(PAYMENT, 0.0)]
    assert [decision.reasons for decision in decisions] == [(), (), ("merchant_too_often",)]
    assert decisions[2].outcome is RiskOutcome.REVIEW
    assert watch.assess(replace(PAYMENT, merchant_id="m_2"), 0.0) == ALLOWED


def test_a_payers_daily_limit_depends_on_the_kyc_tier():
    rules = RiskRules(
        tiers={"minimum": 3_000, "enhanced": 25_000},
        default_tier="minimum",
        tier_merchants=frozenset({PAYMENT.merchant_id}),
    )
    watch = Watch(rules)
    known = replace(PAYMENT, metadata={"kyc_tier": "enhanced"})
    assert watch.assess(of(3_001), 0.0) == RiskDecision(RiskOutcome.DECLINE, ("above_tier_ceiling",))
    watch = Watch(rules)
    assert [watch.assess(of(1_500), 0.0).outcome for _ in range(3)] == [
        RiskOutcome.ALLOW,
        RiskOutcome.ALLOW,
        RiskOutcome.DECLINE,
    ]
    assert watch.assess(replace(known, amount=20_000), 0.0) == ALLOWED
    assert watch.assess(of(1_500), 3 * 86_400.0) == ALLOWED
    of_no_tier = replace(PAYMENT, amount=3_001, metadata={"kyc_tier": "royal"})
    assert watch.assess(of_no_tier, 9 * 86_400.0).outcome is RiskOutcome.DECLINE


@pytest.mark.parametrize(
    ("trusted", "outcome"),
    [
        ((), RiskOutcome.DECLINE),
        (("m_2",), RiskOutcome.DECLINE),
        ((PAYMENT.merchant_id,), RiskOutcome.ALLOW),
        (("*",), RiskOutcome.ALLOW),
    ],
)
def test_only_a_merchant_that_the_operator_trusts_raises_a_payers_tier(
    trusted: tuple[str, ...], outcome: RiskOutcome
):
    rules = RiskRules(
        tiers={"minimum": 3_000, "enhanced": 25_000},
        default_tier="minimum",
        tier_merchants=frozenset(trusted),
    )
    said = replace(PAYMENT, amount=3_001, metadata={"kyc_tier": "enhanced"})
    assert Watch(rules).assess(said, 0.0).outcome is outcome


def test_any_merchant_may_lower_a_payers_tier():
    rules = RiskRules(tiers={"minimum": 3_000, "medium": 15_000}, default_tier="medium")
    said = replace(PAYMENT, amount=3_001, metadata={"kyc_tier": "minimum"})
    assert Watch(rules).assess(said, 0.0) == RiskDecision(RiskOutcome.DECLINE, ("above_tier_ceiling",))
    assert Watch(rules).assess(replace(PAYMENT, amount=3_001), 0.0) == ALLOWED


def test_an_unusual_amount_collected_by_a_merchant_goes_into_review():
    watch = Watch(RiskRules(merchant_amount=Velocity(5_000, 60.0)))
    assert [watch.assess(of(2_500), 0.0).reasons for _ in range(3)] == [(), (), ("merchant_too_much",)]


def test_the_same_amount_twice_is_a_suspected_duplicate_for_a_time():
    watch = Watch(RiskRules(duplicate_window_s=30.0, duplicate=RiskOutcome.DECLINE))
    assert watch.assess(PAYMENT, 0.0) == ALLOWED
    assert watch.assess(of(2_501), 1.0) == ALLOWED
    assert watch.assess(PAYMENT, 29.0) == RiskDecision(RiskOutcome.DECLINE, ("looks_like_a_double",))
    assert watch.assess(PAYMENT, 60.0) == ALLOWED


def test_all_matching_rules_are_named_and_the_most_severe_decides():
    rules = RiskRules(review_from=1, blocked_payers=frozenset({PAYER}), payer_amount=Velocity(1, 60.0))
    decision = Watch(rules).assess(PAYMENT, 0.0)
    assert decision.outcome is RiskOutcome.DECLINE
    assert decision.reasons == ("payer_blocked", "large_amount", "payer_too_much")


@given(st.lists(st.floats(0, 300), min_size=1, max_size=60).map(sorted), st.integers(1, 5))
def test_the_allowed_amount_never_exceeds_twice_the_limit_in_any_window(times: list[float], most: int):
    """Refused payments count too, so a payer cannot wear the limit down."""
    watch = Watch(RiskRules(payer_count=Velocity(most, 60.0)))
    allowed = [at for at in times if watch.assess(PAYMENT, at) == ALLOWED]
    for start in allowed:
        assert sum(start <= at < start + 60.0 for at in allowed) <= 2 * most


def test_a_repeated_request_gets_the_same_decision_and_counts_once():
    rules = RiskRules(payer_count=Velocity(2, 60.0), duplicate_window_s=30.0)
    watch = VelocityCounters(rules)
    assert {watch.assess(PAYMENT, float(at)) for at in range(10)} == {ALLOWED}
    another = replace(PAYMENT, reference="order 2")
    assert {watch.assess(another, 11.0).reasons for _ in range(3)} == {("looks_like_a_double",)}


def test_test_mode_orders_are_not_counted():
    watch = Watch(RiskRules(payer_count=Velocity(1, 60.0), duplicate_window_s=30.0))
    assert watch.assess(PAYMENT, 0.0) == ALLOWED
    assert watch.assess(replace(PAYMENT, livemode=True), 0.0) == ALLOWED
    assert watch.assess(PAYMENT, 0.0).outcome is RiskOutcome.DECLINE


def paid_out(rules: RiskRules, **merchants: RiskRules) -> Watch:
    return Watch(RiskRules(), PayoutRules(general=rules, merchants=merchants))


def test_payouts_per_payee_are_limited_across_all_merchants():
    watch = paid_out(RiskRules(payer_count=Velocity(3, 60.0), payer_amount=Velocity(6_001, 60.0)))
    of_another = replace(PAYOUT, merchant_id="m_2")
    assert [watch.assess(one, 0.0).reasons for one in (PAYOUT, of_another, PAYOUT)] == [
        (),
        (),
        ("payee_too_much",),
    ]
    assert watch.assess(replace(PAYOUT, amount=1_000), 0.0) == ALLOWED
    assert watch.assess(replace(PAYOUT, amount=1), 0.0).reasons == ("payee_too_often",)
    assert watch.assess(replace(PAYOUT, livemode=True), 0.0) == ALLOWED


def test_a_declined_payout_is_not_counted():
    watch = paid_out(RiskRules(ceiling=3_000, payer_amount=Velocity(5_000, 60.0), duplicate_window_s=60.0))
    assert watch.assess(replace(PAYOUT, amount=90_000), 0.0).reasons == ("above_ceiling", "payee_too_much")
    assert watch.assess(PAYOUT, 0.0) == ALLOWED


def test_an_unusual_amount_paid_out_by_a_merchant_goes_into_review():
    watch = paid_out(RiskRules(merchant_amount=Velocity(5_000, 60.0)))
    decisions = [watch.assess(PAYOUT, 0.0) for _ in range(3)]
    assert decisions[2] == RiskDecision(RiskOutcome.REVIEW, ("merchant_too_much",))
    assert watch.assess(replace(PAYOUT, merchant_id="m_2"), 0.0) == ALLOWED


def test_payments_and_payouts_are_counted_apart():
    rules = RiskRules(
        payer_count=Velocity(1, 60.0), merchant_count=Velocity(1, 60.0), duplicate_window_s=60.0
    )
    watch = Watch(rules, PayoutRules(general=rules))
    of_the_payee = replace(PAYMENT, payer=Payer(PAYOUT.payee.msisdn))
    assert [watch.assess(one, 0.0) for one in (of_the_payee, PAYOUT)] == [ALLOWED, ALLOWED]


def test_a_merchants_own_limits_replace_the_general_ones():
    general = RiskRules(ceiling=1_000, payer_amount=Velocity(5_000, 60.0))
    watch = paid_out(general, m_1=replace(general, ceiling=9_000))
    assert watch.assess(replace(PAYOUT, amount=4_000), 0.0) == ALLOWED
    assert watch.assess(replace(PAYOUT, amount=4_000), 0.0).reasons == ("payee_too_much",)
    another_s = replace(PAYOUT, merchant_id="m_2", amount=1_001)
    assert watch.assess(another_s, 300.0).reasons == ("above_ceiling",)


def test_without_payout_rules_no_payouts_are_stored():
    watch = Watch(RiskRules(ceiling=1))
    assert watch.assess(PAYOUT, 0.0) == ALLOWED
    assert not watch.watch.is_idle
    assert Watch(RiskRules()).watch.is_idle


def test_an_order_that_was_not_opened_is_not_counted_and_is_assessed_again():
    rules = RiskRules(
        payer_amount=Velocity(2_500, 60.0), merchant_count=Velocity(1, 60.0), duplicate_window_s=60.0
    )
    watch = VelocityCounters(RiskRules(), PayoutRules(general=rules))
    first, second = replace(PAYOUT, reference="wages 1"), replace(PAYOUT, reference="wages 2")
    assert watch.assess(first, 0.0) == ALLOWED
    watch.not_opened(first, 1.0)
    assert watch.assess(second, 2.0) == ALLOWED
    assert watch.assess(first, 3.0).outcome is RiskOutcome.DECLINE


def test_orders_that_were_not_opened_do_not_accumulate_allowance():
    watch = VelocityCounters(
        RiskRules(), PayoutRules(general=RiskRules(merchant_amount=Velocity(2_500, 60.0)))
    )
    orders = [replace(PAYOUT, reference=f"wages {day}") for day in range(5)]
    for day, order in enumerate(orders):
        assert watch.assess(order, 120.0 * day) == ALLOWED
        watch.not_opened(order, 120.0 * day)
    outcomes = [watch.assess(order, 900.0).outcome for order in orders]
    assert outcomes == [RiskOutcome.ALLOW, *[RiskOutcome.REVIEW] * 4]


def test_an_order_that_one_of_two_requests_has_opened_stays_counted():
    watch = VelocityCounters(RiskRules(), PayoutRules(general=RiskRules(payer_count=Velocity(1, 60.0))))
    assert {watch.assess(PAYOUT, 0.0) for _ in range(2)} == {ALLOWED}
    watch.not_opened(PAYOUT, 0.0)
    assert watch.assess(replace(PAYOUT, reference="another"), 1.0).outcome is RiskOutcome.DECLINE


def test_an_order_that_was_not_opened_is_subtracted_from_the_window_that_counted_it():
    watch = VelocityCounters(RiskRules(), PayoutRules(general=RiskRules(payer_count=Velocity(2, 60.0))))
    first, second, third = (replace(PAYOUT, reference=f"wages {number}") for number in range(3))
    assert watch.assess(first, 59.0) == watch.assess(second, 118.0) == ALLOWED
    watch.not_opened(first, 119.5)
    assert watch.assess(third, 119.5) == ALLOWED
    assert watch.assess(replace(PAYOUT, reference="another"), 119.5).outcome is RiskOutcome.DECLINE


def test_withdrawn_orders_are_shared_with_other_processes():
    told: list[RiskInput] = []
    rules = PayoutRules(general=RiskRules(payer_count=Velocity(1, 60.0)))
    one, two = (
        VelocityCounters(RiskRules(), rules, publish_not_opened=told.append),
        VelocityCounters(RiskRules(), rules),
    )
    two.receive(RiskInput.of(PAYOUT), one.assess(PAYOUT, 0.0), 0.0)
    one.not_opened(PAYOUT, 1.0)
    two.receive_not_opened(told.pop(), 1.0)
    assert two.assess(replace(PAYOUT, reference="another"), 2.0) == ALLOWED
