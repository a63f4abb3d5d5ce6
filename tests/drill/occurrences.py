"""How often each of the rarer faults affected an order of a run."""

from collections import Counter

from drill.judge import Books, StoredOrders, plain
from drill.script import RECORDS
from drill.world import World
from synccash.payments.attempt import Attempt


async def occurrences(world: World) -> Counter[str]:
    """Count, by fault, the attempts or orders that met it: each of them once, and only those with a row.

    A fault of a rail's records counts where it changed what an attempt's rail did or answered. The body of a
    wrong callback counts where a process took it; a late success, where the engine had believed the failure;
    a success that was taken back, where an inquiry came afterwards.
    """
    books, order_store = Books.of(world), await StoredOrders.of(world)
    attempts = {plain(a.reference): a for case in order_store.cases for a in case.attempts}
    found = Counter[str]()
    for rail, played in world.sandbox.rails.items():
        for name, key in played.occurred:
            order = played.orders.get(key)
            attempt = None if order is None else attempts.get(plain(order.booked_as or order.reference))
            if attempt is not None and attempt.rail == rail:
                found[name] += _was_met(name, key, attempt, world, books)
    orders = {attempt.order_id for case in order_store.cases for attempt in case.attempts[:1]}
    found["clock_skew"] = sum(plain(reference) in attempts for reference in world.met_skew)
    found["partition"] = len(world.met_partition & orders)
    rows = await world.pool.fetch("SELECT order_id FROM unreadable_orders")
    found["unreadable_row"] = len({row["order_id"] for row in rows} & world.spoiled.keys())
    return found


def _was_met(name: str, key: str, attempt: Attempt, world: World, books: Books) -> bool:
    match name:
        case "callback_failure":
            return bool(world.callbacks_for(attempt.reference))
        case "failed_then_success":
            return attempt.state.is_dead
        case "reversed":
            reversed_at = books.reversed_at(attempt)
            return reversed_at is not None and any(
                at >= reversed_at for at, asked in world.inquiries if asked == key
            )
        case _:
            return True


FAULTS = (*RECORDS, "clock_skew", "partition", "unreadable_row")
"""What is counted."""
