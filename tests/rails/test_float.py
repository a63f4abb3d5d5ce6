"""The float that rails report, by their own answers and over their sandboxes."""

import json
from dataclasses import replace

import pytest

from rails.mtn_bench import MtnBench
from rails.pawapay_bench import PawapayBench
from rails.paystack_bench import PaystackBench
from synccash.engine.ports import FloatRail
from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import FloatAnswer, Operation, RailStatus
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault
from synccash.rails.hubtel.connector import Hubtel
from synccash.rails.mtn_momo.answers import judge_balance as judge_mtn
from synccash.rails.pawapay.answers import judge_balances as judge_pawapay
from synccash.rails.paystack.answers import judge_balance as judge_paystack
from synccash.resilience.evidence import Evidence

BENCHES = pytest.mark.parametrize("bench_of", [MtnBench, PaystackBench, PawapayBench])
PROVIDERS = {"MTN_MOMO_GHA": Network.MTN, "VODAFONE_GHA": Network.TELECEL}


def answer(status, body):
    return Exchange(status=status, headers={}, body=json.dumps(body).encode(), latency_s=0.1)


def pawapay(status, body):
    return judge_pawapay(answer(status, body), PROVIDERS, "GHS")


def wallet(balance, provider="", **changes):
    return {"country": "GHA", "currency": "GHS", "balance": balance, "provider": provider} | changes


async def float_of(bench):
    return await bench.rail.read_float(bench.rail.account, timeout_s=5.0)


async def set_to(bench, pesewas):
    told = await bench.world.control("PUT", f"{bench.rail_id}/float", {"pesewas": pesewas})
    assert (told.status, told.body) == (200, {"pesewas": pesewas})


@BENCHES
async def test_the_float_is_read_and_falls_with_what_is_paid_out(world, transport, bench_of):
    bench = await bench_of.on(world, transport)
    assert isinstance(bench.rail, FloatRail)
    await set_to(bench, 100_000)
    assert await float_of(bench) == FloatAnswer(available={None: 100_000})
    order = bench.order(Operation.PAYOUT, name="Ama Mensah", amount=2_505)
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    assert await float_of(bench) == FloatAnswer(available={None: 97_495})


@BENCHES
async def test_a_payout_above_the_float_is_refused_as_the_provider_does_and_moves_nothing(
    world, transport, bench_of
):
    bench = await bench_of.on(world, transport)
    await set_to(bench, 2_504)
    order = bench.order(Operation.PAYOUT, name="Ama Mensah", amount=2_505)
    sent = await bench.send(order)
    failure = sent.failure
    if sent.evidence is Evidence.ACCEPTED:
        status = await bench.inquire(order)
        assert status.status_at_rail is RailStatus.FAILED
        failure = status.failure
    else:
        assert sent.evidence is Evidence.REFUSED_FINAL
    assert (failure.code, failure.reroute) == (FailureCode.FLOAT_TOO_LOW, True)
    assert await bench.booked("credits", order) == []
    assert await float_of(bench) == FloatAnswer(available={None: 2_504})


@BENCHES
async def test_a_float_of_another_account_is_not_asked_for(world, transport, bench_of):
    bench = await bench_of.on(world, transport)
    other = replace(bench.rail.account, account="other")
    told = await bench.rail.read_float(other, timeout_s=5.0)
    assert (told.available, told.provider_code, told.is_fault) == (None, "other_account", False)


def test_hubtel_documents_no_way_to_ask_for_its_prepaid_balance():
    assert not hasattr(Hubtel, "read_float")


@pytest.mark.parametrize(
    ("status", "body", "available", "is_fault"),
    [
        (200, {"availableBalance": "1000.5", "currency": "GHS"}, 100_050, False),
        (200, {"availableBalance": "-3.10", "currency": "GHS"}, 0, False),
        (200, {"availableBalance": "99.999", "currency": "GHS"}, 9_999, False),
        (200, {"availableBalance": "1000.5", "currency": "EUR"}, None, False),
        (200, {"availableBalance": "much", "currency": "GHS"}, None, False),
        (200, {"availableBalance": None, "currency": "GHS"}, None, False),
        (500, {"code": "NOT_ALLOWED", "message": ""}, None, False),
        (401, {}, None, False),
        (503, {"code": "SERVICE_UNAVAILABLE", "message": ""}, None, True),
        (500, {}, None, True),
    ],
)
def test_mtn_s_balance(status, body, available, is_fault):
    told = judge_mtn(answer(status, body), "GHS")
    expected = None if available is None else {None: available}
    assert (told.available, told.is_fault) == (expected, is_fault)


@pytest.mark.parametrize(
    ("status", "body", "available", "is_fault"),
    [
        (200, {"status": True, "data": [{"currency": "GHS", "balance": 2505}]}, 2505, False),
        (
            200,
            {"status": True, "data": [{"currency": "NGN", "balance": 1}, {"currency": "GHS", "balance": 7}]},
            7,
            False,
        ),
        (200, {"status": True, "data": [{"currency": "GHS", "balance": -5}]}, 0, False),
        (200, {"status": True, "data": [{"currency": "GHS", "balance": "2505"}]}, None, False),
        (200, {"status": True, "data": [{"currency": "NGN", "balance": 1}]}, None, False),
        (200, {"status": False, "data": []}, None, False),
        (200, {"status": True, "data": {}}, None, False),
        (401, {"status": False, "message": "Invalid key", "code": "invalid_Key"}, None, False),
        (500, {}, None, True),
    ],
)
def test_paystack_s_balance(status, body, available, is_fault):
    told = judge_paystack(answer(status, body))
    expected = None if available is None else {None: available}
    assert (told.available, told.is_fault) == (expected, is_fault)


@pytest.mark.parametrize(
    ("balances", "available"),
    [
        ([wallet("21798.03")], {None: 2_179_803}),
        ([wallet("1000.0", "MTN_MOMO_GHA"), wallet("5")], {Network.MTN: 100_000, None: 500}),
        ([wallet("1000.0", "MTN_MOMO_GHA")], {Network.MTN: 100_000}),
        ([wallet("7", country="ZMB"), wallet("8", currency="USD"), wallet("9")], {None: 900}),
        ([wallet("9", "NEW_GHA")], None),
        ([wallet("much")], None),
        ([7], None),
        ([], None),
    ],
)
def test_pawapay_s_wallets(balances, available):
    assert pawapay(200, {"balances": balances}).available == available


def test_silence_says_nothing_of_the_float():
    silence = TransportFailure(evidence=Evidence.AMBIGUOUS, fault=next(iter(TransportFault)), latency_s=1.0)
    for told in (judge_mtn(silence, "GHS"), judge_paystack(silence), judge_pawapay(silence, {}, "GHS")):
        assert (told.available, told.is_fault) == (None, True)
    assert pawapay(503, {}).is_fault
    assert not pawapay(401, {"failureReason": {"failureCode": "NO_AUTHENTICATION"}}).is_fault
