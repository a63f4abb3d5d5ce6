"""The watch of due orders that no worker takes."""

from structlog.testing import capture_logs

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


async def test_workers_without_heartbeats_are_named_before_any_order_is_late():
    missing = [12.0]
    watch = OverdueOrdersWatch(Orders(None), SystemClock(), lambda: missing[0])
    with capture_logs() as logged:
        await watch.read()
        await watch.read()
    ((part, text),) = watch.warnings()
    assert part == "worker"
    assert text.startswith("No worker runs: none has sent a heartbeat for 12 s.")
    assert "synccash worker" in text
    assert [one["event"] for one in logged] == ["workers_missing"]
    missing[0] = None
    with capture_logs() as logged:
        await watch.read()
    assert (watch.warnings(), [one["event"] for one in logged]) == ((), ["workers_back"])


async def test_both_facts_are_one_warning():
    watch = OverdueOrdersWatch(Orders(42.3), SystemClock(), lambda: 50.0)
    await watch.read()
    ((_, text),) = watch.warnings()
    assert "heartbeat for 50 s. Orders have been due for 42 s." in text
