"""The simulation's order store passes the same contract tests as PostgreSQL's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from order_store_contract import OrderStoreContract
from sim.clock import EPOCH
from sim.order_store import FakeOrderStore, RefusedError
from synccash.payments.case import Entry, Event


@dataclass
class _Clock:
    at: datetime = EPOCH

    def now(self) -> datetime:
        return self.at


@dataclass
class FakeWorld:
    """An in-memory order store whose clock moves only when the test moves it."""

    clock: _Clock = field(default_factory=_Clock)
    refusal: type[Exception] = RefusedError

    def __post_init__(self) -> None:
        self.order_store = FakeOrderStore(self.clock)

    def now(self) -> datetime:
        return self.clock.at

    async def skip(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)

    async def events(self) -> Sequence[Event]:
        return self.order_store.events

    async def timeline(self, order_id: str) -> Sequence[Entry]:
        return self.order_store.rows[order_id].timeline

    async def grant(self, merchant_id: str, amount: int) -> None:
        self.order_store.credits[merchant_id] = self.order_store.credits.get(merchant_id, 0) + amount

    async def suspend(self, merchant_id: str, *, suspended: bool = True) -> None:
        (self.order_store.suspended.add if suspended else self.order_store.suspended.discard)(merchant_id)

    async def contradictions(self, order_id: str) -> Sequence[str]:
        return self.order_store.rows[order_id].contradictions


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


class TestFakeOrderStore(OrderStoreContract):
    """Every promise of the contract."""
