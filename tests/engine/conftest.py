import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
import pytest_asyncio

from engine.scripted import Desk, ScriptedRail
from synccash.engine.dispatch.policy_dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.engine import build_engine
from synccash.engine.progress.screening import Screening
from synccash.engine.settings import EngineSettings
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.references import ReferenceKey
from synccash.payments.risk import NO_PAYOUT_RULES, PayoutRules, RiskRules
from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.registry import Registry
from synccash.resilience.retry import Retry
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import connect


@pytest.fixture
def surplus_refund() -> str:
    """Overridden by tests of the other policy."""
    return "auto"


@pytest.fixture
def rules() -> RiskRules:
    """Overridden by tests of risk."""
    return RiskRules()


@pytest.fixture
def payout_rules() -> PayoutRules:
    """Overridden by tests of payouts' risk."""
    return NO_PAYOUT_RULES


@pytest.fixture
def screening() -> Screening | None:
    """Overridden by tests of a fraud service."""
    return None


@pytest.fixture
def schedule() -> InquirySchedule:
    """Overridden by tests of its end."""
    return InquirySchedule((0.0,), ((0.0, 1e6),))


@pytest.fixture
def settings() -> dict[str, Any]:
    """Overridden by tests of other numbers than the engine's own."""
    return {}


@pytest.fixture
def rails() -> Sequence[ScriptedRail]:
    """Overridden by tests of other rails."""
    return ScriptedRail("mtn_momo"), ScriptedRail("paystack", otp=True, refund_key=False)


OpenDesk = Callable[[], Awaitable[Desk]]


@pytest_asyncio.fixture
async def open_desk(
    database_url: str,
    surplus_refund: Literal["auto", "manual"],
    rules: RiskRules,
    payout_rules: PayoutRules,
    screening: Screening | None,
    schedule: InquirySchedule,
    settings: dict[str, Any],
    rails: Sequence[ScriptedRail],
) -> AsyncGenerator[OpenDesk]:
    """Opens an engine over PostgreSQL with scripted rails; only the test runs worker steps. Each stands for
    a process."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one() -> Desk:
            pool = await connect(database_url, min_size=1, max_size=4)
            stack.push_async_callback(pool.close)
            clock = SystemClock()
            registry = Registry({"*": replace(PAYMENT_PROVIDER, retry=Retry(attempts=1, base=0.0))})
            engine = build_engine(
                order_store=PostgresOrderStore(Database(pool)),
                rails={rail.name: rail for rail in rails},
                dispatch=PolicyDispatch(
                    registry.breaker, registry.profile, clock, DispatchSettings(), random.random
                ),
                clock=clock,
                identities=SystemIdentities(),
                references=ReferenceKey.of("5c" * 32),
                networks=PayerNetworks(
                    clock.now, retention_s=86_400.0, secret=b"a secret of this installation."
                ),
                work_signal=LocalWorkSignal(),
                settings=EngineSettings(
                    **{
                        "public_url": "http://us",
                        "schedule": schedule,
                        "settle_s": 0.0,
                        "surplus_refund": surplus_refund,
                        **settings,
                    }
                ),
                rules=rules,
                payout_rules=payout_rules,
                screening=screening,
            )
            stack.push_async_callback(engine.close)
            return Desk(engine, pool, rails[0], rails[1])

        yield open_one


@pytest_asyncio.fixture
async def desk(open_desk: OpenDesk) -> Desk:
    """The first engine of a test."""
    return await open_desk()
