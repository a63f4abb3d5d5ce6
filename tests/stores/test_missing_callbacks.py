"""How many of a rail's latest successes came without a callback, as PostgreSQL has them."""

from order_store_contract import opened
from synccash.stores.postgres.operations.missing_callbacks import PostgresMissingCallbacks

_SUCCEEDED = """
    UPDATE attempts SET state = 'succeeded', started_at = now() - interval '1 minute' WHERE order_id = $1
"""


async def paid(world, *numbers):
    for number in numbers:
        case = await opened(world, number)
        await world.pool.execute(_SUCCEEDED, case.order.id)


async def test_successes_without_a_callback_are_counted_for_each_rail(world):
    ends = PostgresMissingCallbacks(world.order_store.database)
    await paid(world, 1, 2, 3)
    rail = await world.value("SELECT rail FROM attempts LIMIT 1")
    assert await ends.without_callback(rail, 3) == 3
    assert await ends.without_callback("another", 3) == 0
    await world.order_store.hint("token_pay_2_1")
    assert await ends.without_callback(rail, 3) == 2


async def test_what_is_older_than_a_quarter_of_an_hour_is_over(world):
    ends = PostgresMissingCallbacks(world.order_store.database)
    await paid(world, 1, 2, 3)
    rail = await world.value("SELECT rail FROM attempts LIMIT 1")
    await world.pool.execute("UPDATE attempts SET started_at = now() - interval '16 minutes'")
    assert await ends.without_callback(rail, 3) == 0
