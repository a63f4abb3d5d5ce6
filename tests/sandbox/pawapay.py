"""A client of pawaPay as any merchant writes one."""

from uuid import uuid4

from sandbox.momo import ask, put_faults

MTN, TELECEL, AT = "233593456789", "233503456789", "233273456789"


class Merchant:
    def __init__(self, world, session):
        self.world = world
        self.session = session

    async def call(self, method, path, body=None, token="a-token"):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.world.sandbox.rail_urls["pawapay"] + path
        return await ask(
            self.session, method, url, headers=headers, **({} if body is None else {"json": body})
        )

    async def deposit(self, number=MTN, provider="MTN_MOMO_GHA", amount="25.05", **changes):
        wallet = {"phoneNumber": number, "provider": provider}
        body = {
            "depositId": str(uuid4()),
            "payer": {"type": "MMO", "accountDetails": wallet},
            "amount": amount,
            "currency": "GHS",
            "customerMessage": "Two tickets",
        } | changes
        self.reference = body["depositId"]
        return await self.call("POST", "/v2/deposits", body)

    async def payout(self, number=MTN, provider="MTN_MOMO_GHA", amount="8.00", **changes):
        wallet = {"phoneNumber": number, "provider": provider}
        body = {
            "payoutId": str(uuid4()),
            "recipient": {"type": "MMO", "accountDetails": wallet},
            "amount": amount,
            "currency": "GHS",
        } | changes
        self.reference = body["payoutId"]
        return await self.call("POST", "/v2/payouts", body)

    async def refund(self, **changes):
        """Return the last deposit."""
        body = {"refundId": str(uuid4()), "depositId": self.reference, "currency": "GHS"} | changes
        self.reference = body["refundId"]
        return await self.call("POST", "/v2/refunds", body)

    async def status(self, reference=None):
        return (await self.call("GET", f"/v2/deposits/{reference or self.reference}")).body

    async def faults(self, **faults):
        await put_faults(self.world, "pawapay", faults)

    async def book(self):
        return (await self.world.control("GET", "pawapay/book")).body

    async def set_up(self, **settings):
        answer = await self.world.control("PUT", "pawapay/settings", settings)
        assert answer.status == 200, answer.body
