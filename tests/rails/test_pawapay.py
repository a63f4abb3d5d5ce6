"""pawaPay's connector: what it can do, what it sends, and payouts."""

import msgspec
import pytest

from rails.pawapay_bench import TOKEN, PawapayBench
from rails.raw_server import answering, raw_server
from synccash.engine.system import SystemClock
from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import CallbackAddress, Operation, RailStatus
from synccash.rails.http.transport import Transport
from synccash.rails.pawapay.connector import customer_message
from synccash.rails.registry import build_rails
from synccash.resilience.evidence import Evidence
from synccash.settings.loader import Settings, SettingsError

GIVEN = {
    "pawapay_environment": "live",
    "pawapay_base_url": "https://api.pawapay.io/",
    "pawapay_token": "a-token",
}


@pytest.fixture
async def bench(world, transport):
    return await PawapayBench.on(world, transport)


async def written(bench, **changes):
    """The request that an order becomes on the wire: its head and its body."""
    async with raw_server(answering(200, b"{}")) as server:
        rail = bench.connector_at(server.url)
        await rail.send(bench.order(account=rail.account, **changes), timeout_s=5.0)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), msgspec.json.decode(body)


async def test_it_says_what_it_can_do(bench):
    capabilities = bench.rail.capabilities
    assert capabilities.networks == set(Network)
    assert set(capabilities.operations) == set(Operation)
    assert all(can.dedup_by_reference for can in capabilities.operations.values())
    assert capabilities.callback_address is CallbackAddress.PER_ACCOUNT
    assert not capabilities.signed_callbacks


@pytest.mark.parametrize(
    ("network", "provider"),
    [
        (Network.MTN, "MTN_MOMO_GHA"),
        (Network.TELECEL, "VODAFONE_GHA"),
        (Network.AT, "AIRTELTIGO_GHA"),
    ],
)
async def test_a_collection_is_written_as_pawapay_wants_it(bench, network, provider):
    reference = bench.order().reference
    head, body = await written(
        bench, network=network, amount=5, note="Ama's 2 tickets & café", reference=reference
    )
    assert head[0] == "POST /v2/deposits HTTP/1.1"
    assert f"Authorization: Bearer {TOKEN}" in head
    wallet = {"phoneNumber": bench.payer, "provider": provider}
    assert body == {
        "depositId": reference,
        "amount": "0.05",
        "currency": "GHS",
        "payer": {"type": "MMO", "accountDetails": wallet},
        "customerMessage": "Ama s 2 tickets cafe",
    }


async def test_a_payout_names_its_recipient_and_a_refund_its_deposit(bench):
    head, body = await written(bench, operation=Operation.PAYOUT)
    assert head[0] == "POST /v2/payouts HTTP/1.1"
    assert "payoutId" in body
    assert body["recipient"]["accountDetails"]["phoneNumber"] == bench.payer
    head, body = await written(bench, operation=Operation.REFUND, original_reference="the-debit")
    assert head[0] == "POST /v2/refunds HTTP/1.1"
    assert (set(body), body["depositId"]) == ({"refundId", "depositId", "amount", "currency"}, "the-debit")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two tickets", "Two tickets"),
        ("  many   blanks\t", "many blanks"),
        ("a note that is much too long", "a note that is much to"),
        ("one two three four fi ve", "one two three four fi"),
        ("tea", "Payment tea"),
        ("", "Payment"),
        ("₵₵₵₵₵", "Payment"),
        ("line\r\nbreak", "line break"),
    ],
)
def test_a_message_is_4_to_22_plain_signs(text, expected):
    assert customer_message(text) == expected
    assert 4 <= len(expected) <= 22


@pytest.mark.parametrize("changes", [{"network": None}, {"currency": "EUR"}, {"operation": Operation.REFUND}])
async def test_what_cannot_be_asked_of_it_is_not_sent(bench, changes):
    order = bench.order(**changes)
    assert (await bench.send(order)).evidence is Evidence.NOT_SENT


async def test_a_payout_arrives_once_however_often_it_is_sent(bench):
    order = bench.order(Operation.PAYOUT)
    await bench.script({"on": "money", "answer": "drop", "commit": True})
    assert (await bench.send(order)).evidence is Evidence.AMBIGUOUS
    again = await bench.send(order)
    assert (again.evidence, again.duplicate) == (Evidence.ACCEPTED, True)
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
    assert len(await bench.booked("credits", order)) == 1
    assert await bench.booked("debits", order) == []


async def test_a_token_that_is_refused_is_the_operator_s_to_mend(world, transport):
    bench = await PawapayBench.on(world, transport)
    await world.control("PUT", "pawapay/settings", {"token": "another"})
    order = bench.order()
    answer = await bench.send(order)
    assert (answer.evidence, answer.failure.code) == (
        Evidence.REFUSED_FINAL,
        FailureCode.PROVIDER_ACCOUNT_BLOCKED,
    )
    assert (await bench.inquire(order)).status_at_rail is RailStatus.NO_INFORMATION


async def test_a_network_that_is_closed_may_be_tried_later(bench, world):
    await world.control("PUT", "pawapay/settings", {"closed_providers": ["VODAFONE_GHA"]})
    assert (await bench.send(bench.order(network=Network.TELECEL))).evidence is Evidence.REFUSED_LATER
    assert (await bench.send(bench.order())).evidence is Evidence.ACCEPTED


async def test_more_than_the_deposit_is_never_returned(bench):
    collected = bench.order()
    await bench.send(collected)
    first, second = (
        bench.order(Operation.REFUND, original_reference=collected.reference, amount=amount)
        for amount in (2000, 600)
    )
    assert (await bench.send(first)).evidence is Evidence.ACCEPTED
    refused = await bench.send(second)
    assert (refused.evidence, refused.provider_code) == (Evidence.REFUSED_FINAL, "AMOUNT_TOO_LARGE")


def build(**given):
    return build_rails(Settings(**given), Transport(), SystemClock())


def test_an_address_and_a_token_set_it_up():
    assert build(**GIVEN)["pawapay"].account.base_url == "https://api.pawapay.io"


@pytest.mark.parametrize("missing", list(GIVEN))
def test_half_of_it_is_refused_with_what_is_missing(missing):
    with pytest.raises(SettingsError, match=f"{missing} is missing"):
        build(**{key: value for key, value in GIVEN.items() if key != missing})


@pytest.mark.parametrize("text", ["a key", "key\n", "kéy"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(text):
    with pytest.raises(SettingsError, match="pawapay_token") as refused:
        build(**GIVEN | {"pawapay_token": text})
    assert text not in str(refused.value)
