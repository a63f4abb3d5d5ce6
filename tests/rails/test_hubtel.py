"""Hubtel's connector against Hubtel's sandbox, and what it writes on the wire."""

from dataclasses import replace

import msgspec
import pytest

from rails.hubtel_bench import CLIENT, PREPAID, SECRET, HubtelBench
from rails.raw_server import answering, raw_server
from synccash.engine.dispatch.policy_dispatch import judge_inquiry
from synccash.engine.system import SystemClock
from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import CallbackAddress, Operation, RailStatus
from synccash.rails.http.transport import Transport
from synccash.rails.hubtel.connector import Hubtel
from synccash.rails.registry import build_rails
from synccash.resilience.evidence import Evidence
from synccash.resilience.verdict import Outcome
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.secret import Secret

ACCEPTED_CODES = b'{"ResponseCode":"0001","Message":"pending","Data":{"TransactionId":"t1"}}'
ACCOUNT = {
    "hubtel_environment": "live",
    "hubtel_pos_sales_id": "2017001",
    "hubtel_client_id": "a-client",
    "hubtel_client_secret": "a-client-secret",
}


@pytest.fixture
async def bench(world, transport):
    return await HubtelBench.on(world, transport)


async def test_it_says_what_it_can_do(bench):
    capabilities = bench.rail.capabilities
    assert capabilities.networks == set(Network)
    assert capabilities.callback_address is CallbackAddress.PER_REQUEST
    collect = capabilities.operations[Operation.COLLECT]
    assert not collect.dedup_by_reference
    assert (collect.failure_is_reported, collect.inquiry_from_s, collect.prompt_window_s) == (False, 300, 600)
    for operation in (Operation.REFUND, Operation.PAYOUT):
        assert not capabilities.operations[operation].dedup_by_reference
        assert capabilities.operations[operation].failure_is_reported


@pytest.mark.parametrize(
    ("network", "channel"),
    [(Network.MTN, "mtn-gh"), (Network.TELECEL, "vodafone-gh"), (Network.AT, "tigo-gh")],
)
async def test_a_collection_is_written_as_hubtel_wants_it(bench, network, channel):
    async with raw_server(answering(200, ACCEPTED_CODES)) as hubtel:
        rail = bench.connector_at(hubtel.url)
        order = bench.order(account=rail.account, amount=2_510, network=network, note="Ama's 2 & café")
        given = await rail.send(order, timeout_s=5.0)
    assert given.provider_transaction_id == "t1"
    head, _, body = hubtel.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /merchantaccount/merchants/2017001/receive/mobilemoney HTTP/1.1"
    assert "Authorization: Basic YS1jbGllbnQ6YS1jbGllbnQtc2VjcmV0" in lines
    # Two decimals, as a number, to the letter.
    assert b'"Amount":25.10,' in body
    assert msgspec.json.decode(body) == {
        "CustomerMsisdn": bench.payer,
        "Channel": channel,
        "Amount": 25.1,
        "PrimaryCallbackUrl": "http://localhost:1/callback",
        "Description": "Ama s 2 cafe",
        "ClientReference": order.reference.replace("-", ""),
    }


@pytest.mark.parametrize("amount", [1, 10, 99, 100, 1_999, 10**12])
async def test_an_amount_reaches_the_book_to_the_pesewa(bench, amount):
    order = bench.order(amount=amount)
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    assert [debit["amount"] for debit in await bench.booked("debits", order)] == [amount]


@pytest.mark.parametrize(
    ("operation", "name", "recipient"),
    [
        (Operation.REFUND, None, "233241234567"),
        (Operation.PAYOUT, "Ama Mensah", "Ama Mensah"),
    ],
)
async def test_money_goes_out_from_the_prepaid_deposit(bench, operation, name, recipient):
    async with raw_server(answering(200, ACCEPTED_CODES)) as hubtel:
        rail = bench.connector_at(hubtel.url)
        order = bench.order(operation, account=rail.account, name=name, original_reference="the-debit")
        await rail.send(order, timeout_s=5.0)
    head, _, body = hubtel.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST /api/merchants/{PREPAID}/send/mobilemoney HTTP/1.1".encode())
    sent = msgspec.json.decode(body)
    assert (sent["RecipientName"], sent["RecipientMsisdn"]) == (recipient, bench.payer)
    assert sent["PrimaryCallbackURL"] == "http://localhost:1/callback"


async def test_a_payout_reaches_the_wallet_and_is_found(bench):
    order = bench.order(Operation.PAYOUT)
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    assert len(await bench.booked("credits", order)) == 1
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED


async def test_a_payout_that_failed_says_so(bench):
    order = bench.order(Operation.PAYOUT)
    await bench.script({"on": "money", "end": "INSUFFICIENT_BALANCE", "approve_after_ms": 0})
    await bench.send(order)
    answer = await bench.inquire(order)
    assert (answer.status_at_rail, answer.failure.code) == (RailStatus.FAILED, FailureCode.PROVIDER_ERROR)
    assert await bench.booked("credits", order) == []


@pytest.mark.parametrize("changes", [{"network": None}, {"callback_url": None}])
async def test_what_hubtel_must_have_is_not_sent_without(bench, changes):
    order = bench.order(**changes)
    assert (await bench.send(order)).evidence is Evidence.NOT_SENT
    assert await bench.booked("prompts", order) == []


async def test_without_a_prepaid_deposit_nothing_goes_out(world, transport):
    bench = await HubtelBench.on(world, transport, prepaid_deposit_id=None)
    assert set(bench.rail.capabilities.operations) == {Operation.COLLECT}
    order = bench.order(Operation.PAYOUT)
    answer = await bench.send(order)
    assert (answer.evidence, answer.failure.code) == (
        Evidence.NOT_SENT,
        FailureCode.PROVIDER_ACCOUNT_BLOCKED,
    )


async def test_strangers_meet_a_page_that_proves_nothing(bench):
    answer = await bench.world.control("PUT", "hubtel/settings", {"ip_allowed": False})
    assert answer.status == 200
    order = bench.order()
    sent = await bench.send(order)
    assert (sent.evidence, sent.failure.code) == (Evidence.AMBIGUOUS, FailureCode.PROVIDER_ACCOUNT_BLOCKED)
    assert (await bench.inquire(order)).status_at_rail is RailStatus.NO_INFORMATION


async def test_a_wrong_secret_is_refused_for_good(world, transport):
    bench = await HubtelBench.on(world, transport)
    bench.rail = Hubtel(replace(bench.settings, client_secret=Secret("another")), transport)
    answer = await bench.send(bench.order())
    assert (answer.evidence, answer.provider_code) == (Evidence.REFUSED_FINAL, "4101")


async def test_no_secret_is_printed(bench):
    for value in (bench.settings, bench.rail, bench.rail.account):
        assert SECRET not in repr(value)
        assert CLIENT not in repr(value)


# Its settings.


def build(**given):
    return build_rails(Settings(**given), Transport(), SystemClock())


def test_its_account_sets_it_up_at_hubtel_s_own_hosts():
    rail = build(**ACCOUNT)["hubtel"]
    assert (rail.account.account, rail.account.base_url) == ("2017001", "https://rmp.hubtel.com")
    assert set(rail.capabilities.operations) == {Operation.COLLECT}
    rail = build(**ACCOUNT, hubtel_prepaid_deposit_id="2017002")["hubtel"]
    assert set(rail.capabilities.operations) == set(Operation)


@pytest.mark.parametrize("missing", list(ACCOUNT))
def test_half_an_account_is_refused_with_what_is_missing(missing):
    with pytest.raises(SettingsError, match=f"{missing} is missing"):
        build(**{key: value for key, value in ACCOUNT.items() if key != missing})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hubtel_client_secret", "a secret"),
        ("hubtel_client_id", "id:secret"),
        ("hubtel_pos_sales_id", "../2017001"),
        ("hubtel_status_url", "txnstatus"),
        ("hubtel_send_url", "https://a:b@smp.example"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(key, value):
    with pytest.raises(SettingsError, match=f"{key} must"):
        build(**ACCOUNT | {key: value})


@pytest.mark.parametrize("operation", [Operation.COLLECT, Operation.PAYOUT])
async def test_an_inquiry_about_an_unknown_reference_is_no_failure_of_hubtel(bench, operation):
    answer = await bench.inquire(bench.order(operation))
    assert answer.status_at_rail is RailStatus.NO_INFORMATION
    assert judge_inquiry(answer).outcome is Outcome.OK


async def test_a_path_that_hubtel_does_not_have_is_a_failure(bench):
    hosts = f"{bench.settings.status_url}/elsewhere"
    rail = bench.connector_at(hosts)
    order = bench.order(account=rail.account)
    answer = await rail.inquire(rail.account, order.operation, order.reference, timeout_s=5.0)
    assert judge_inquiry(answer).outcome is Outcome.FAILED
