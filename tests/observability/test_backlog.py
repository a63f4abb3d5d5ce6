"""The notice of orders that wait for an operator."""

from synccash.engine.system import SystemClock
from synccash.observability.backlog import Backlog
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.history import Waiting


class Orders:
    """Answers as a test sets it."""

    def __init__(self):
        self.answer = {
            ("payment", "under_review"): Waiting(2, 60.0),
            ("payout", "risk_review"): Waiting(1, 720.0),
        }

    async def counts(self):
        if self.answer is None:
            raise StoreUnavailableError("away")
        return self.answer

    async def due(self):
        return {}


async def test_the_orders_that_wait_for_an_operator_are_one_notice():
    orders = Orders()
    backlog = Backlog(orders, SystemClock())
    await backlog.count()
    (notice,) = backlog.notices()
    assert (notice["what"], notice["state"]) == ("orders", "waiting")
    assert "2 payments under_review, 1 payout risk_review; the longest for 12 min" in notice["detail"]
    assert "`synccash payments waiting` lists them" in notice["detail"]
    orders.answer[("refund", "contradiction")] = Waiting(1, 30.0)
    await backlog.count()
    (notice,) = backlog.notices()
    assert "1 refund contradiction" in notice["detail"]
    assert "`synccash payments waiting` and `synccash payments contradictions` list them" in notice["detail"]
    for answer in ({}, None):
        orders.answer = answer
        await backlog.count()
        assert backlog.notices() == ()
