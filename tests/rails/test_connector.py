"""The checks before any byte leaves, which every connector inherits."""

import asyncio
from dataclasses import replace

import pytest

from rails.manual_clock import ManualClock
from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import (
    Capabilities,
    Environment,
    FloatAnswer,
    Operation,
    OperationCapability,
    RailAccount,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.connector import Connector, PacedFloatConnector, channel_of
from synccash.resilience.evidence import Evidence

ACCOUNT = RailAccount(rail="any", account="main", base_url="http://x", target_environment="t", identity="a")
ORDER = SendOrder(
    operation=Operation.COLLECT,
    account=ACCOUNT,
    reference="r",
    amount=100,
    currency="GHS",
    msisdn="233241234567",
    network=Network.MTN,
    note="",
    merchant_reference="order-1",
)
REFUND = replace(ORDER, operation=Operation.REFUND)
ACCEPTED = SendAnswer(evidence=Evidence.ACCEPTED)
PENDING = StatusAnswer(status_at_rail=RailStatus.PENDING)


def able(*operations):
    capability = OperationCapability(dedup_by_reference=True)
    return Capabilities(networks=frozenset(Network), operations=dict.fromkeys(operations, capability))


class Plain(Connector):
    def __init__(self, *operations, **changes):
        super().__init__(ACCOUNT, Environment.TEST, able(*operations), **changes)
        self.calls = []

    async def _send(self, order, timeout_s):
        self.calls.append((order, timeout_s))
        return ACCEPTED

    async def _inquire(self, operation, reference, timeout_s, details):
        self.calls.append((operation, reference, timeout_s))
        return PENDING


async def test_an_order_that_passes_reaches_the_connector_s_own_code():
    rail = Plain(*Operation)
    assert await rail.send(ORDER, timeout_s=3.0) is ACCEPTED
    assert await rail.inquire(ACCOUNT, Operation.PAYOUT, "r", timeout_s=2.0) is PENDING
    assert rail.calls == [(ORDER, 3.0), (Operation.PAYOUT, "r", 2.0)]


@pytest.mark.parametrize(
    ("order", "changes", "code", "provider_code", "reroute"),
    [
        (replace(ORDER, account=replace(ACCOUNT, identity="b")), {}, "BLOCKED", "other_account", False),
        (replace(ORDER, currency="NGN"), {"currency": "GHS"}, "BLOCKED", "other_currency", True),
        (REFUND, {}, "ERROR", "no_original_reference", True),
        (replace(REFUND, original_transaction_id="7"), {}, "ERROR", "no_original_reference", True),
        (REFUND, {"refunds_by_transaction_id": True}, "ERROR", "no_original_reference", True),
        (replace(ORDER, operation=Operation.PAYOUT), {}, "BLOCKED", "no_payout_account", True),
        (
            replace(ORDER, operation=Operation.PAYOUT),
            {"requirement": "credentials"},
            "BLOCKED",
            "no_payout_credentials",
            True,
        ),
    ],
)
async def test_an_order_that_cannot_be_sent_is_refused_before_it(
    order, changes, code, provider_code, reroute
):
    rail = Plain(Operation.COLLECT, Operation.REFUND, **changes)
    answer = await rail.send(order, timeout_s=3.0)
    codes = {"BLOCKED": FailureCode.PROVIDER_ACCOUNT_BLOCKED, "ERROR": FailureCode.PROVIDER_ERROR}
    assert (answer.evidence, answer.refused_locally) == (Evidence.NOT_SENT, True)
    assert (answer.failure.code, answer.failure.reroute) == (codes[code], reroute)
    assert answer.provider_code == answer.failure.provider_code == provider_code
    assert rail.calls == []


@pytest.mark.parametrize(
    ("refund", "changes"),
    [
        (replace(REFUND, original_reference="o"), {}),
        (replace(REFUND, original_transaction_id="7"), {"refunds_by_transaction_id": True}),
    ],
)
async def test_a_refund_that_names_its_debit_is_sent(refund, changes):
    assert await Plain(*Operation, **changes).send(refund, timeout_s=1.0) is ACCEPTED


@pytest.mark.parametrize(
    ("account", "operation"),
    [(replace(ACCOUNT, base_url="http://y"), Operation.COLLECT), (ACCOUNT, Operation.PAYOUT)],
)
async def test_what_was_not_sent_through_this_account_is_not_asked(account, operation):
    rail = Plain(Operation.COLLECT)
    answer = await rail.inquire(account, operation, "r", timeout_s=1.0)
    assert (answer.status_at_rail, answer.refused_locally) == (RailStatus.NO_INFORMATION, True)
    assert (answer.provider_code, rail.calls) == ("other_account", [])


def test_a_network_without_a_name_at_the_provider_is_an_invalid_payer():
    assert channel_of(ORDER, {Network.MTN: "mtn-gh"}, "no_network") == "mtn-gh"
    for order in (replace(ORDER, network=None), replace(ORDER, network=Network.AT)):
        answer = channel_of(order, {Network.MTN: "mtn-gh"}, "no_network")
        assert (answer.evidence, answer.failure.code) == (Evidence.NOT_SENT, FailureCode.INVALID_PAYER)
        assert answer.provider_code == "no_network"


class Paced(PacedFloatConnector):
    def __init__(self, clock, *operations):
        super().__init__(
            ACCOUNT,
            Environment.TEST,
            able(*operations),
            clock=clock,
            status_per_s=1.0,
            inquirers=lambda: 1,
        )
        self.left = []

    async def _send(self, order, timeout_s):
        return ACCEPTED

    async def _inquire_paced(self, operation, reference, timeout_s, details, paced_s):
        self.left.append((timeout_s, paced_s))
        return PENDING

    async def _read_float(self, timeout_s):
        self.left.append((timeout_s, None))
        return FloatAnswer(available={None: 1})


async def test_a_paced_connector_waits_for_its_turn_and_has_the_rest_of_the_time():
    clock = ManualClock()
    rail = Paced(clock, *Operation)
    assert await rail.inquire(ACCOUNT, Operation.COLLECT, "r", timeout_s=5.0) is PENDING
    second = asyncio.create_task(rail.inquire(ACCOUNT, Operation.COLLECT, "r", timeout_s=5.0))
    await clock.asleep.wait()
    clock.advance(1.25)
    assert await second is PENDING
    clock.advance(1.25)
    assert (await rail.read_float(ACCOUNT, timeout_s=4.0)).available == {None: 1}
    assert rail.left == [(5.0, 0.0), (3.75, 1.25), (4.0, None)]


async def test_without_a_turn_in_time_nothing_is_asked():
    rail = Paced(ManualClock(), *Operation)
    await rail.inquire(ACCOUNT, Operation.COLLECT, "r", timeout_s=1.0)
    late = await rail.inquire(ACCOUNT, Operation.COLLECT, "r", timeout_s=0.5)
    assert (late.provider_code, late.refused_locally, late.deferred) == ("status_cap", True, True)
    assert late.retry_after_s == pytest.approx(0.5 + 1.05)
    assert (await rail.read_float(ACCOUNT, timeout_s=0.5)).provider_code == "status_cap"
    assert len(rail.left) == 1


async def test_an_account_that_pays_nothing_out_has_no_float():
    rail = Paced(ManualClock(), Operation.COLLECT)
    assert (await rail.read_float(ACCOUNT, timeout_s=1.0)).provider_code == "other_account"
    assert rail.left == []
