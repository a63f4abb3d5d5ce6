"""What the operator's views show of payments and their refunds."""

from engine.scripted import SUCCEEDED, Desk
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.operating import OrderFilter, PostgresOperating


async def test_a_payment_is_shown_with_its_refunds(desk: Desk):
    payment = await desk.pay()
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    made = [await desk.refund(payment["id"], amount) for amount in (300, 200)]
    await desk.work()
    await desk.pool.execute("INSERT INTO merchants (id, name) VALUES ($1, 'shop')", payment["merchant_id"])
    operating = PostgresOperating(Database(desk.pool))
    refunds = await operating.refunds(payment["id"])
    assert [(one["id"], one["amount"]) for one in refunds] == [
        (made[0]["id"], 300),
        (made[1]["id"], 200),
    ]
    (listed,) = await operating.orders(OrderFilter())
    assert (listed["amount_received"], listed["amount_refunded"]) == (1000, 500)
    assert await operating.refunds("pay_nobody") == []
