"""The watch of due orders that no worker takes."""

from synccash.engine.system import SystemClock
from synccash.observability.overdue_orders import OVERDUE_S, OverdueOrdersWatch
from synccash.payments.errors import StoreUnavailableError


class Orders:
    """Answers as a test sets it."""

    def __init__(self, overdue_s):
        self.answer = overdue_s

    async def overdue_s(self, than_s):
        assert than_s == OVERDUE_S
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_orders_that_no_worker_takes_are_reported_with_what_to_do():
    watch = OverdueOrdersWatch(Orders(42.3), SystemClock())
    await watch.read()
    ((part, text),) = watch.warnings()
    assert part == "worker"
    assert "due for 42 s" in text
    assert "synccash worker" in text


async def test_nothing_is_reported_while_none_is_overdue_or_postgresql_is_away():
    orders = Orders(42.3)
    watch = OverdueOrdersWatch(orders, SystemClock())
    await watch.read()
    for answer in (None, StoreUnavailableError("away")):
        orders.answer = answer
        await watch.read()
        assert watch.warnings() == ()
