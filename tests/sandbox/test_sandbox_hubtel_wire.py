"""Hubtel's sandbox as any merchant's client finds it."""

from uuid import uuid4

import aiohttp
import pytest

from sandbox.momo import PAYER, ask

POS, PREPAID = "2017001", "2017002"
KEYS = {"client_id": "a-client", "client_secret": "a-secret"}


class Merchant:
    def __init__(self, world, session):
        self.world = world
        self.session = session

    async def call(self, method, path, secret="a-secret", **kwargs):
        headers = {"Authorization": aiohttp.encode_basic_auth("a-client", secret)}
        url = self.world.sandbox.rail_urls["hubtel"] + path
        return await ask(self.session, method, url, headers=headers, **kwargs)

    async def receive(self, *, without=(), secret="a-secret", pos=POS, **changes):
        body = {
            "CustomerMsisdn": PAYER,
            "Channel": "mtn-gh",
            "Amount": 25.05,
            "PrimaryCallbackUrl": "http://localhost:1/",
            "Description": "Two tickets",
            "ClientReference": uuid4().hex,
        } | changes
        self.reference = body["ClientReference"]
        body = {name: value for name, value in body.items() if name not in without}
        path = f"/merchantaccount/merchants/{pos}/receive/mobilemoney"
        return await self.call("POST", path, secret, json=body)

    async def send(self, **changes):
        body = {
            "RecipientName": "Ama Mensah",
            "RecipientMsisdn": PAYER,
            "Channel": "mtn-gh",
            "Amount": 0.8,
            "PrimaryCallbackURL": "http://localhost:1/",
            "Description": "Prize",
            "ClientReference": uuid4().hex,
        } | changes
        self.reference = body["ClientReference"]
        return await self.call("POST", f"/api/merchants/{PREPAID}/send/mobilemoney", json=body)

    async def status(self, reference=None):
        named = reference or self.reference
        return await self.call("GET", f"/transactions/{POS}/status?clientReference={named}")

    async def book(self):
        return (await self.world.control("GET", "hubtel/book")).body

    async def script(self, **step):
        answer = await self.world.control("PUT", "hubtel/script", {"next": [step]})
        assert answer.status == 200, answer.body


@pytest.fixture
async def hubtel(world, session):
    merchants = {"pos_sales_id": POS, "prepaid_deposit_id": PREPAID}
    answer = await world.control("PUT", "hubtel/credentials", KEYS | merchants)
    assert answer.status == 200, answer.body
    await world.control("PUT", "hubtel/faults", {"approve_after_ms": 0})
    return Merchant(world, session)


async def test_a_collection_is_pending_in_pascal_case_and_paid_in_camel_case(hubtel, ear):
    taken = await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/told")
    assert (taken.status, taken.body["ResponseCode"]) == (200, "0001")
    assert taken.body["Data"]["ClientReference"] == hubtel.reference
    assert (taken.body["Data"]["Amount"], taken.body["Data"]["AmountCharged"]) == (25.05, 25.52)
    told = await ear.next()
    assert (told["method"], told["body"]["ResponseCode"]) == ("POST", "0000")
    assert told["body"]["Data"]["OrderId"] == taken.body["Data"]["TransactionId"]
    status = (await hubtel.status()).body
    assert (status["responseCode"], status["data"]["status"]) == ("0000", "Paid")
    assert (status["data"]["amount"], status["data"]["currencyCode"]) == (25.05, None)
    (debit,) = (await hubtel.book())["debits"]
    assert (debit["reference"], debit["msisdn"], debit["amount"]) == (hubtel.reference, PAYER, 2505)


async def test_a_collection_that_failed_is_unpaid_like_one_that_waits(hubtel, ear):
    await hubtel.script(end="WRONG_PIN")
    await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/told")
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
    await hubtel.receive(PrimaryCallbackUrl=f"{ear.url}/told")
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
    taken = await hubtel.send(PrimaryCallbackURL=f"{ear.url}/told")
    assert (taken.body["ResponseCode"], taken.body["Data"]["AmountDebited"]) == ("0001", 0.0)
    assert (await ear.next())["body"]["ResponseCode"] == "0000"
    found = await hubtel.call("GET", f"/api/merchants/{PREPAID}/{path}?clientReference={hubtel.reference}")
    assert (found.body["ResponseCode"], found.body["Data"]["transactionStatus"]) == ("success", "success")
    assert [credit["amount"] for credit in (await hubtel.book())["credits"]] == [80]
    assert (await hubtel.status()).status == 404
