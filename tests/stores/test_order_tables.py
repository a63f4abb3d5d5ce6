import pytest

from encryption_samples import ENCRYPTION
from payment_samples import PAYMENT, PAYOUT, REFUND
from synccash.payments.case import Order
from synccash.stores.postgres.orders import rows
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES
from synccash.stores.postgres.sealing import PERSONAL

LATER_ONLY = {"paid_by"}
"""Columns that no opening writes: no order is paid when it is opened."""


@pytest.mark.parametrize("order", [PAYMENT, REFUND, PAYOUT], ids=lambda order: order.kind)
def test_an_opening_writes_every_column_of_its_order(order: Order):
    assert set(rows.opened_row(order, ENCRYPTION)) - LATER_ONLY == set(ORDER_TABLES[order.kind].columns)


@pytest.mark.parametrize("order", [PAYMENT, REFUND, PAYOUT], ids=lambda order: order.kind)
def test_a_later_commit_changes_no_column_that_names_the_order_or_its_money(order: Order):
    table = ORDER_TABLES[order.kind]
    fixed = {"id", "merchant_id", "livemode", "amount", "currency", "created_at", *table.reference}
    assert table.changed
    assert set(table.changed) <= set(rows.order_row(order)) - fixed - set(PERSONAL[table.name].columns)
