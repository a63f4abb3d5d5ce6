"""Hubtel's sandbox as any merchant's client finds it."""

import pytest

from sandbox.hubtel import PREPAID
from sandbox.momo import PAYER


async def test_a_collection_is_pending_in_pascal_case_and_paid_in_camel_case(hubtel, ear):
    taken = await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/callback")
    assert (taken.status, taken.body["ResponseCode"]) == (200, "0001")
    assert taken.body["Data"]["ClientReference"] == hubtel.reference
    assert (taken.body["Data"]["Amount"], taken.body["Data"]["AmountCharged"]) == (25.05, 25.52)
    callback = await ear.next()
    assert (callback["method"], callback["body"]["ResponseCode"]) == ("POST", "0000")
    assert callback["body"]["Data"]["OrderId"] == taken.body["Data"]["TransactionId"]
    status = (await hubtel.status()).body
    assert (status["responseCode"], status["data"]["status"]) == ("0000", "Paid")
    assert (status["data"]["amount"], status["data"]["currencyCode"]) == (25.05, None)
    (debit,) = (await hubtel.book())["debits"]
    assert (debit["reference"], debit["msisdn"], debit["amount"]) == (hubtel.reference, PAYER, 2505)


async def test_a_collection_that_failed_is_unpaid_like_one_that_waits(hubtel, ear):
    await hubtel.script(end="WRONG_PIN")
    await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/callback")
    assert (await ear.next())["body"]["ResponseCode"] == "2001"
    failed = (await hubtel.status()).body
    await hubtel.script(end="NEVER")
    await hubtel.receive()
    waiting = (await hubtel.status()).body
    assert failed["data"]["status"] == waiting["data"]["status"] == "Unpaid"
    assert failed["responseCode"] == waiting["responseCode"] == "0000"
    assert (await hubtel.book())["debits"] == []


async def test_callbacks_may_come_twice(hubtel, ear):
    await hubtel.world.control("PUT", "hubtel/faults", {"callbacks": "duplicate"})
    await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/callback")
    assert (await ear.next())["body"] == (await ear.next())["body"]
    assert len((await hubtel.book())["debits"]) == 1


async def test_a_reference_is_taken_once(hubtel):
    await hubtel.receive()
    again = await hubtel.receive(ClientReference=hubtel.reference)
    assert (again.status, again.body["ResponseCode"]) == (400, "4000")
    assert "Duplicate" in again.body["Message"]
    assert len((await hubtel.book())["prompts"]) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"without": ["CustomerMsisdn"]}, "4000"),
        ({"without": ["PrimaryCallbackUrl"]}, "4000"),
        ({"without": ["ClientReference"]}, "4000"),
        ({"ClientReference": "with-hyphens"}, "4000"),
        ({"ClientReference": "a" * 37}, "4000"),
        ({"CustomerMsisdn": "0241234567"}, "4000"),
        ({"Amount": "25.05"}, "4000"),
        ({"Amount": 25.055}, "4000"),
        ({"Amount": 0}, "4000"),
        ({"Description": "Rice & beans"}, "4000"),
        ({"Channel": "airtel-gh"}, "4103"),
        ({"secret": "another"}, "4101"),
        ({"pos": "1"}, "4101"),
    ],
)
async def test_what_is_refused_is_not_kept(hubtel, changes, code):
    answer = await hubtel.receive(**changes)
    assert answer.status >= 400
    assert answer.body["ResponseCode"] == code
    assert (await hubtel.book())["prompts"] == []


async def test_an_amount_below_the_least_has_no_fees(hubtel):
    await hubtel.world.control("PUT", "hubtel/settings", {"minimum_amount": 100})
    assert (await hubtel.receive(Amount=0.99)).body["ResponseCode"] == "4070"
    assert (await hubtel.receive(Amount=1)).body["ResponseCode"] == "0001"


async def test_strangers_get_a_web_page(hubtel):
    await hubtel.world.control("PUT", "hubtel/settings", {"ip_allowed": False})
    for answer in (await hubtel.receive(), await hubtel.status()):
        assert answer.status == 403
        assert answer.headers["Content-Type"].startswith("text/html")
    assert (await hubtel.book())["prompts"] == []


async def test_a_status_can_be_kept_back_for_the_first_minutes(hubtel):
    await hubtel.world.control("PUT", "hubtel/settings", {"status_from_s": 300})
    await hubtel.receive()
    assert (await hubtel.status()).status == 404
    hubtel.world.now += 300
    assert (await hubtel.status()).body["data"]["status"] == "Paid"


@pytest.mark.parametrize("path", ["transactions/status", "status"])
async def test_money_that_was_sent_out_is_found_by_both_spellings_of_its_path(hubtel, ear, path):
    taken = await hubtel.send(PrimaryCallbackURL=f"{ear.url}/callback")
    assert (taken.body["ResponseCode"], taken.body["Data"]["AmountDebited"]) == ("0001", 0.0)
    assert (await ear.next())["body"]["ResponseCode"] == "0000"
    found = await hubtel.call("GET", f"/api/merchants/{PREPAID}/{path}?clientReference={hubtel.reference}")
    assert (found.body["ResponseCode"], found.body["Data"]["transactionStatus"]) == ("success", "success")
    assert [credit["amount"] for credit in (await hubtel.book())["credits"]] == [80]
    assert (await hubtel.status()).status == 404
