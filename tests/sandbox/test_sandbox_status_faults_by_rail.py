"""Status faults on the wires of Paystack, Hubtel and pawaPay: collections, payouts and refunds."""

import pytest

from synccash.sandbox.status_faults import REFERENCE

SUCCEEDED = {"success", "processed", "Paid", "COMPLETED"}
FAILED = {"failed", "Unpaid", "FAILED"}


class Told:
    """What a status answer says; money in pesewas, None where the wire has no member for it."""

    def __init__(self, answer, data, names):
        self.is_found = answer.status == 200 and data is not None
        if self.is_found:
            status, amount, currency, reference = (data.get(name) for name in names)
            self.status, self.currency, self.reference = status, currency, reference
            is_major = not isinstance(amount, int)
            self.amount = round(float(amount) * 100) if is_major else amount


class Case:
    """One operation of one rail: how it is sent and asked about, and how the end of it is called back."""

    amount = 2505
    names_currency = names_reference = True
    call_back = None

    def __init__(self, client):
        self.client = client

    async def prepare(self):
        """Do what has to be there before the faults begin."""

    def booked(self, book):
        return [entry["amount"] for entry in book["debits"]]


class PaystackCharge(Case):
    rail = "paystack"

    async def send(self, **_):
        await self.client.charge()
        self.reference = self.client.reference

    async def inquire(self):
        answer = await self.client.verify()
        return Told(answer, answer.body.get("data"), ("status", "amount", "currency", "reference"))


class PaystackTransfer(PaystackCharge):
    amount = 80

    async def send(self, ear=None):
        if ear is not None:
            await self.client.wants_events(ear)
        await self.client.transfer()
        self.reference = self.client.reference

    async def inquire(self):
        answer = await self.client.verify_transfer()
        return Told(answer, answer.body.get("data"), ("status", "amount", "currency", "reference"))

    def call_back(self, body):
        return body["event"] == "transfer.failed"

    def booked(self, book):
        return [entry["amount"] for entry in book["credits"]]


class PaystackRefund(PaystackTransfer):
    amount = 1000
    names_reference = False

    async def prepare(self):
        await self.client.paid()

    async def send(self, ear=None):
        if ear is not None:
            await self.client.wants_events(ear)
        self.number = (await self.client.refund(amount=self.amount)).body["data"]["id"]

    async def inquire(self):
        answer = await self.client.call("GET", f"/refund/{self.number}")
        return Told(answer, answer.body.get("data"), ("status", "amount", "currency", "reference"))

    def call_back(self, body):
        return body["event"] == "refund.failed"


class HubtelReceive(Case):
    rail = "hubtel"

    async def send(self, ear=None):
        await self.client.receive(**({} if ear is None else {"PrimaryCallbackUrl": ear.url}))
        self.reference = self.client.reference

    async def inquire(self):
        answer = await self.client.status()
        return Told(answer, answer.body.get("data"), ("status", "amount", "currencyCode", "clientReference"))

    def call_back(self, body):
        return body["ResponseCode"] == "2001"


class HubtelSend(HubtelReceive):
    amount = 80
    names_currency = False

    async def send(self, ear=None):
        await self.client.send(**({} if ear is None else {"PrimaryCallbackURL": ear.url}))
        self.reference = self.client.reference

    async def inquire(self):
        answer = await self.client.send_status()
        names = ("transactionStatus", "Amount", "currencyCode", "ClientReference")
        return Told(answer, answer.body.get("Data"), names)

    def call_back(self, body):
        return body["ResponseCode"] == "4075"

    def booked(self, book):
        return [entry["amount"] for entry in book["credits"]]


class PawapayDeposit(Case):
    rail = "pawapay"
    path, id_field = "deposits", "depositId"

    async def send(self, ear=None):
        if ear is not None:
            await self.client.set_up(**{f"{self.path[:-1]}_callback_url": ear.url})
        await self.order()
        self.reference = self.client.reference

    async def order(self):
        await self.client.deposit()

    async def inquire(self):
        answer = await self.client.call("GET", f"/v2/{self.path}/{self.reference}")
        names = ("status", "amount", "currency", self.id_field)
        return Told(answer, answer.body.get("data"), names)

    def call_back(self, body):
        return body["status"] == "FAILED"


class PawapayPayout(PawapayDeposit):
    amount = 800
    path, id_field = "payouts", "payoutId"

    async def order(self):
        await self.client.payout()

    def booked(self, book):
        return [entry["amount"] for entry in book["credits"]]


class PawapayRefund(PawapayPayout):
    amount = 2505
    path, id_field = "refunds", "refundId"

    async def prepare(self):
        await self.client.deposit()

    async def order(self):
        await self.client.refund()


CASES = [
    *(PaystackCharge, PaystackTransfer, PaystackRefund),
    *(HubtelReceive, HubtelSend),
    *(PawapayDeposit, PawapayPayout, PawapayRefund),
]


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
async def case(request, world, paystack, hubtel, pawapay):
    client = {"paystack": paystack, "hubtel": hubtel, "pawapay": pawapay}[request.param.rail]
    case = request.param(client)
    await case.prepare()
    return case


async def stay_pending(case):
    """Keep the next order open for a minute, a credit too."""
    step = {"next": [{"approve_after_ms": 60_000}]}
    assert (await case.client.world.control("PUT", f"{case.rail}/script", step)).status == 200


async def occurred(case):
    return (await case.client.book())["faults"]


async def test_another_amount_is_named_and_booked(case):
    await case.client.faults(other_amount_rate=1.0)
    await case.send()
    answer = await case.inquire()
    assert answer.status in SUCCEEDED
    assert answer.amount == case.amount + 100
    assert case.booked(await case.client.book()) == [case.amount + 100]
    assert await occurred(case) == {"other_amount": 1}


async def test_another_currency_is_named_where_one_is(case):
    await case.client.faults(other_currency_rate=1.0)
    await case.send()
    answers = [await case.inquire() for _ in range(2)]
    wanted = "NGN" if case.names_currency else None
    assert [one.currency for one in answers] == [wanted, wanted]
    assert await occurred(case) == ({"other_currency": 2} if case.names_currency else {})


async def test_another_reference_is_named_three_times_where_one_is(case):
    await case.client.faults(other_reference_rate=1.0)
    await case.send()
    named = [(await case.inquire()).reference for _ in range(4)]
    if case.names_reference:
        assert named == [REFERENCE] * 3 + [case.reference]
        assert await occurred(case) == {"other_reference": 3}
    else:
        assert (named, await occurred(case)) == ([None] * 4, {})


async def test_what_was_found_pending_is_not_found_three_times_across_a_restart(case):
    await case.client.faults(not_found_after_found_rate=1.0)
    await stay_pending(case)
    await case.send()
    found = [(await case.inquire()).is_found for _ in range(3)]
    await case.client.world.sleep_through(0)
    found += [(await case.inquire()).is_found for _ in range(2)]
    assert found == [True, False, False, False, True]
    assert await occurred(case) == {"not_found_after_found": 3}


async def test_money_moves_after_a_failure(case):
    await case.client.faults(failed_then_success_rate=1.0, late_success_after_ms=60_000)
    await case.send()
    assert (await case.inquire()).status in FAILED
    assert case.booked(await case.client.book()) == []
    await case.client.world.sleep_through(61)
    assert (await case.inquire()).status in SUCCEEDED
    assert case.booked(await case.client.book()) == [case.amount]
    assert await occurred(case) == {"failed_then_success": 1}


async def test_a_failure_is_called_back_while_the_order_is_open(case, ear):
    await case.client.faults(callback_failure_rate=1.0)
    await stay_pending(case)
    await case.send(ear=ear)
    if case.call_back is None:  # Paystack has no event for a charge that failed
        assert await occurred(case) == {}
        return
    assert case.call_back((await ear.next())["body"])
    assert (await case.inquire()).status not in SUCCEEDED
    assert case.booked(await case.client.book()) == []
    assert await occurred(case) == {"callback_failure": 1}
