"""The fault of a rail that takes a success back."""

from uuid import uuid4

import pytest

REVERSED = {"reversed_rate": 1.0, "reverse_after_ms": 60_000}


def sides(book):
    return [[entry["amount"] for entry in book[side]] for side in ("debits", "credits")]


async def test_a_charge_is_reversed_and_its_money_returns_without_an_event(paystack, ear):
    await paystack.wants_events(ear)
    await paystack.faults(**REVERSED)
    assert (await paystack.paid())["status"] == "success"
    assert (await ear.next())["body"]["event"] == "charge.success"
    assert sides(await paystack.book()) == [[2505], []]
    await paystack.world.sleep_through(61)
    data = (await paystack.verify()).body["data"]
    assert (data["status"], data["amount"], data["paid_at"] is None) == ("reversed", 2505, False)
    book = await paystack.book()
    assert sides(book) == [[2505], [2505]]
    assert book["credits"][0]["reference"] == paystack.reference
    assert book["credits"][0]["at"] > book["debits"][0]["at"]
    assert book["faults"] == {"reversed": 1}
    await paystack.transfer()
    assert (await ear.next())["body"]["event"] == "transfer.success"


async def test_a_transfer_is_reversed_with_an_event_across_a_restart(paystack, ear):
    await paystack.wants_events(ear)
    await paystack.faults(**REVERSED)
    await paystack.transfer()
    assert (await ear.next())["body"]["event"] == "transfer.success"
    await paystack.world.sleep_through(61)
    event = (await ear.next())["body"]
    assert (event["event"], event["data"]["status"]) == ("transfer.reversed", "reversed")
    assert (await paystack.verify_transfer()).body["data"]["status"] == "reversed"
    await paystack.world.sleep_through(61)
    book = await paystack.book()
    assert sides(book) == [[80], [80]]
    assert book["debits"][0]["reference"] == paystack.reference
    assert book["faults"] == {"reversed": 1}
    assert len(ear.history) == 2


async def test_money_goes_back_once_by_a_refund_or_by_a_reversal(paystack):
    await paystack.faults(**REVERSED)
    await paystack.paid()
    refunded = paystack.reference
    await paystack.refund()
    await paystack.paid()
    await paystack.world.sleep_through(61)
    refused = await paystack.refund()
    assert (refused.status, refused.body["message"]) == (400, "Transaction has been fully reversed")
    book = await paystack.book()
    assert [credit["reference"] for credit in book["credits"]] == [
        f"Refund for transaction {refunded}",
        paystack.reference,
    ]
    assert book["faults"] == {"reversed": 1}


async def test_a_late_success_is_reversed_too(paystack):
    await paystack.faults(**REVERSED, failed_then_success_rate=1.0, late_success_after_ms=60_000)
    await paystack.charge()
    assert (await paystack.verify()).body["data"]["status"] == "failed"
    await paystack.world.sleep_through(61)
    assert (await paystack.verify()).body["data"]["status"] == "success"
    await paystack.world.sleep_through(61)
    assert (await paystack.verify()).body["data"]["status"] == "reversed"


async def test_a_collection_of_hubtel_s_is_refunded_and_money_sent_out_stays(hubtel, ear):
    await hubtel.faults(**REVERSED)
    await hubtel.send()
    assert (await hubtel.send_status()).body["Data"]["transactionStatus"] == "success"
    await hubtel.receive(PrimaryCallbackUrl=ear.url)
    assert (await ear.next())["body"]["ResponseCode"] == "0000"
    assert (await hubtel.status()).body["data"]["status"] == "Paid"
    await hubtel.world.sleep_through(61)
    assert (await hubtel.status()).body["data"]["status"] == "Refunded"
    book = await hubtel.book()
    assert sides(book) == [[2505], [80, 2505]]
    assert book["faults"] == {"reversed": 1}
    await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/another")
    assert (await ear.next())["path"] == "/another"


@pytest.mark.parametrize("rail", ["mtn_momo", "pawapay"])
async def test_a_rail_without_a_word_for_it_reverses_nothing(world, merchant, pawapay, rail):
    await world.control("PUT", f"{rail}/faults", REVERSED)
    await (merchant.collect(reference=str(uuid4())) if rail == "mtn_momo" else pawapay.deposit())
    await world.sleep_through(61)
    book = (await world.control("GET", f"{rail}/book")).body
    assert (sides(book), book["faults"]) == ([[2500 if rail == "mtn_momo" else 2505], []], {})
