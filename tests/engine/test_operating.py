"""What the operator's views show of payments and their refunds."""

from engine.scripted import SUCCEEDED, TENANT, Desk
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


async def test_the_orders_of_a_rail_are_listed_page_by_page_newest_first(desk: Desk):
    await desk.pool.execute("INSERT INTO merchants (id, name) VALUES ($1, 'shop')", TENANT.merchant_id)
    made = [(await desk.pay(reference=f"order-{number}"))["id"] for number in range(5)]
    rail = (await desk.case(made[0])).attempts[-1].rail
    await desk.pool.execute(
        "UPDATE attempts SET started_at = now() - make_interval(mins => array_position($1, order_id)) "
        "WHERE order_id = ANY ($1::text[])",
        made,
    )
    operating = PostgresOperating(Database(desk.pool))
    first = await operating.orders(OrderFilter(rail=rail, limit=2))
    assert [one["id"] for one in first] == made[:3]
    last = await operating.orders(OrderFilter(rail=rail, limit=2, after=made[1]))
    assert [one["id"] for one in last] == made[2:5]
    assert await operating.orders(OrderFilter(rail=rail, after=made[4])) == []
    of_merchant = await operating.orders(OrderFilter(rail=rail, merchant=first[0]["merchant_id"]))
    assert [one["id"] for one in of_merchant] == made[::-1]
    assert await operating.orders(OrderFilter(rail=rail, merchant="mer_nobody")) == []
    assert await operating.orders(OrderFilter(rail=rail, kind="payouts")) == []
    assert await operating.orders(OrderFilter(rail="a_rail_without_orders")) == []
