"""A starting process loads the counts of earlier payouts."""

from dataclasses import replace

import pytest

from api.served import NUMBER, served, settings
from payment_samples import PAYOUT
from synccash.engine.system import SystemClock
from synccash.payments.balance import BalanceAccount
from synccash.payments.payer import Msisdn
from synccash.payments.payout import Payee
from synccash.processes.assembly import engine as assembled_engine
from synccash.processes.assembly.service import assembled
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect


async def test_a_process_counts_the_payouts_of_the_last_day_before_it_accepts_any(
    database_url, monkeypatch: pytest.MonkeyPatch
):
    # A process goes on after two seconds, which pass on a busy machine.
    monkeypatch.setattr(assembled_engine, "FIRST_LOOK_S", 60.0)
    pool = await connect(database_url, min_size=0, max_size=1)
    account = BalanceAccount(merchant_id="mer_test", livemode=False, currency="GHS")
    await PostgresBalances(Database(pool)).grant(account, 1_000, "credit:test")
    await pool.close()
    limits = {"payout_payee_max_payouts": 1}
    async with served(database_url, **limits) as api:
        body = {"amount": 100, "currency": "GHS", "payee": {"msisdn": NUMBER}, "reference": "one"}
        assert (await api.send("POST", "/payouts", body, Idempotency_Key="one")).json()[
            "status"
        ] == "processing"
    async with assembled(settings(database_url, **limits), database_url) as service:
        another = replace(PAYOUT, payee=Payee(Msisdn.parse(NUMBER)))
        decision = service.engine.risk.assess(another, SystemClock().monotonic())
    assert decision.reasons == ("payee_too_often",)
