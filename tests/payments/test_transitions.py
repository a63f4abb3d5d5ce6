from dataclasses import replace

import pytest

from payment_samples import PAYMENT, PAYOUT, REFUND
from synccash.payments.errors import IllegalTransitionError
from synccash.payments.payment import OutgoingStatus, PaymentStatus
from synccash.payments.transitions import ABSORBED, TRANSITIONS, OrderEvent, state_after

ORDERS = [replace(PAYMENT, status=status) for status in PaymentStatus]
ORDERS += [replace(order, status=status) for order in (REFUND, PAYOUT) for status in OutgoingStatus]


def test_every_kind_of_order_is_tested():
    assert {order.kind for order in ORDERS} == set(TRANSITIONS)


@pytest.mark.parametrize("event", OrderEvent)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.kind}-{order.status}")
def test_an_event_changes_the_status_by_the_table_is_absorbed_or_raises(order, event):
    table = TRANSITIONS[order.kind]
    if (order.status, event) in table:
        assert state_after(order, event) == table[order.status, event]
    elif order.status.is_final and event in ABSORBED and event in {known for _, known in table}:
        assert state_after(order, event) is None
    else:
        with pytest.raises(
            IllegalTransitionError, match=f"{order.id} is {order.status}, and the event {event} "
        ):
            state_after(order, event)


def test_no_table_leads_out_of_a_final_status_or_back_to_created():
    for table in TRANSITIONS.values():
        assert not any(status.is_final for status, _ in table)
        assert PaymentStatus.CREATED not in {state.status for state in table.values()}


def test_every_open_order_can_end_and_can_go_under_review():
    for table in TRANSITIONS.values():
        for status in {status for status, _ in table}:
            for event in (OrderEvent.SUCCEEDED, OrderEvent.FAILED, OrderEvent.REVIEW_REQUIRED):
                assert (status, event) in table
