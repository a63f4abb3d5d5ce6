from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_samples import NO_FUNDS, NOW, PAYMENT, PREPARED, REFUND
from synccash.payments import lifecycle
from synccash.payments.attempt import AttemptState
from synccash.payments.errors import IllegalTransitionError
from synccash.payments.failure import Failure, FailureCode, WhoseProblem
from synccash.payments.inquiry_schedule import PRODUCTION, SANDBOX
from synccash.payments.payer import Network
from synccash.payments.payment import PaymentStatus, RefundStatus, StatusDetail
from synccash.payments.rail import Capabilities, NextAction, NextActionType, Operation, OperationCapability
from synccash.payments.routing import Candidate, choose

LATER = NOW + timedelta(seconds=5)


def attempt(state: AttemptState):
    return replace(
        PREPARED,
        state=state,
        amount_received=2500 if state is AttemptState.SUCCEEDED else 0,
        failure=NO_FUNDS if state is AttemptState.DECLINED else None,
    )


@pytest.mark.parametrize(
    ("state", "status", "detail"),
    [
        (AttemptState.ACKNOWLEDGED, PaymentStatus.PROCESSING, StatusDetail.AWAITING_PAYER),
        (AttemptState.UNKNOWN, PaymentStatus.PROCESSING, StatusDetail.OUTCOME_UNKNOWN),
        (AttemptState.NOT_SENT, PaymentStatus.PROCESSING, StatusDetail.QUEUED),
        (AttemptState.SUCCEEDED, PaymentStatus.SUCCEEDED, None),
        (AttemptState.DECLINED, PaymentStatus.FAILED, None),
    ],
)
def test_a_payments_status_follows_its_latest_attempt(
    state: AttemptState, status: PaymentStatus, detail: StatusDetail | None
):
    payment = lifecycle.with_status_of(PAYMENT, attempt(state), now=LATER)
    assert (payment.status, payment.status_detail, payment.version) == (status, detail, 2)


def test_a_payment_that_needs_an_otp_awaits_it():
    otp = NextAction(NextActionType.SUBMIT_OTP, "dial *110#")
    payment = lifecycle.with_status_of(PAYMENT, attempt(AttemptState.ACKNOWLEDGED), now=LATER, action=otp)
    assert (payment.status, payment.next_action) == (PaymentStatus.REQUIRES_ACTION, otp)


def test_a_payment_still_awaits_its_otp_when_the_rail_answers_pending():
    otp = NextAction(NextActionType.SUBMIT_OTP, "dial *110#")
    asked = lifecycle.with_status_of(PAYMENT, attempt(AttemptState.ACKNOWLEDGED), now=NOW, action=otp)
    assert lifecycle.with_status_of(asked, attempt(AttemptState.ACKNOWLEDGED), now=LATER) is asked
    approve = NextAction(NextActionType.APPROVE_ON_PHONE)
    told = lifecycle.with_status_of(asked, attempt(AttemptState.ACKNOWLEDGED), now=LATER, action=approve)
    assert (told.status, told.next_action) == (PaymentStatus.PROCESSING, approve)


def test_a_repeated_answer_changes_nothing_including_the_version():
    once = lifecycle.with_status_of(PAYMENT, attempt(AttemptState.ACKNOWLEDGED), now=NOW)
    assert lifecycle.with_status_of(once, attempt(AttemptState.ACKNOWLEDGED), now=LATER) is once


@given(st.lists(st.sampled_from(AttemptState), max_size=10))
def test_final_statuses_absorb_what_rails_answer_later(states: list[AttemptState]):
    payment, refund = PAYMENT, REFUND
    for state in states:
        before, refund_before = payment, refund
        payment = lifecycle.with_status_of(payment, attempt(state), now=LATER)
        refund = lifecycle.with_status_of(refund, attempt(state), now=LATER)
        if before.status.is_final:
            assert payment is before
        if refund_before.status.is_final:
            assert refund is refund_before
        assert (payment.status is PaymentStatus.SUCCEEDED) == (payment.amount_received == 2500)


def test_a_final_payment_or_refund_is_neither_expired_nor_reviewed_nor_queued():
    paid = lifecycle.with_status_of(PAYMENT, attempt(AttemptState.SUCCEEDED), now=NOW)
    for change in (lifecycle.expired, lifecycle.under_review, lifecycle.queued):
        assert change(paid, now=LATER) is paid
    given_back = lifecycle.with_status_of(REFUND, attempt(AttemptState.SUCCEEDED), now=NOW)
    assert given_back.status is RefundStatus.SUCCEEDED
    assert lifecycle.under_review(given_back, now=LATER) is given_back


@pytest.mark.parametrize("change", [lifecycle.canceled, lifecycle.in_risk_review, lifecycle.password_given])
def test_a_decision_on_a_payment_that_has_ended_is_illegal(change: Callable[..., object]):
    paid = lifecycle.with_status_of(PAYMENT, attempt(AttemptState.SUCCEEDED), now=NOW)
    with pytest.raises(IllegalTransitionError, match=f"{PAYMENT.id} is succeeded"):
        change(paid, now=LATER)


def test_an_otp_is_illegal_unless_the_rail_waits_for_one():
    processing = lifecycle.with_status_of(PAYMENT, attempt(AttemptState.ACKNOWLEDGED), now=NOW)
    for payment in (PAYMENT, processing):
        with pytest.raises(IllegalTransitionError, match="otp_submitted"):
            lifecycle.password_given(payment, now=LATER)


def test_a_refund_never_expires_and_is_never_held_for_risk_also_when_it_has_ended():
    ended = lifecycle.with_status_of(REFUND, attempt(AttemptState.SUCCEEDED), now=NOW)
    for refund in (REFUND, ended):
        for change in (lifecycle.expired, lifecycle.in_risk_review):
            with pytest.raises(IllegalTransitionError):
                change(refund, now=LATER)


def test_every_failure_code_says_whose_problem_it_is_in_a_sentence():
    for code in FailureCode:
        failure = Failure(code)
        assert failure.message.endswith(".")
        assert failure.whose_problem in WhoseProblem
        assert failure.category


def test_inquiry_waits_grow_until_the_schedule_ends():
    waits, age = [], 0.0
    while (wait := PRODUCTION.wait_s(len(waits), age)) is not None:
        waits.append(wait)
        age += wait
    assert waits[:6] == [5, 15, 30, 60, 120, 300]
    assert waits == sorted(waits)
    assert 72 * 3600 <= age < 73 * 3600
    assert [SANDBOX.wait_s(n, 0.0) for n in range(6)] == [0.5, 1, 2, 4, 5, 5]


def capable(*networks: Network) -> Capabilities:
    operation = OperationCapability(dedup_by_reference=True)
    return Capabilities(networks=frozenset(networks), operations={Operation.COLLECT: operation})


def test_a_route_names_the_excluded_rails_and_the_reasons():
    mtn, telecel = Candidate("mtn_momo", capable(Network.MTN)), Candidate("other", capable(Network.TELECEL))
    shut = replace(mtn, rail="shut", open_for_s=12.0)
    route = choose([telecel, shut, mtn], network=Network.MTN)
    assert route.chosen == "mtn_momo"
    assert [(c["rail"], c.get("skipped")) for c in route.considered] == [
        ("mtn_momo", None),
        ("other", "network_not_served"),
        ("shut", "breaker_open"),
    ]


def test_a_payment_waits_for_the_first_breaker_and_fails_only_if_no_rail_is_capable():
    shut = Candidate("shut", capable(Network.MTN), open_for_s=12.0)
    assert choose([shut], network=Network.MTN).wait_s == 12.0
    assert choose([shut], network=Network.AT).wait_s is None
    assert choose([shut], network=None, pinned="gone").considered[0]["skipped"] == "another_rail_pinned"
    assert choose([shut], network=Network.MTN, excluded=frozenset({"shut"})).wait_s is None
