"""A client of Paystack as any merchant writes one."""

from uuid import uuid4

from sandbox.momo import ask, put_faults

KEY = "sk_test_a_merchant"
MTN, TELECEL, AT = "0551234987", "0501234987", "0271234987"


class Merchant:
    def __init__(self, world, session):
        self.world = world
        self.session = session

    async def call(self, method, path, body=None, key=KEY):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = self.world.sandbox.rail_urls["paystack"] + path
        return await ask(
            self.session, method, url, headers=headers, **({} if body is None else {"json": body})
        )

    async def charge(self, phone=MTN, provider="mtn", *, key=KEY, without=(), **changes):
        body = {
            "email": "ama@example.com",
            "amount": 2505,
            "currency": "GHS",
            "reference": str(uuid4()),
            "mobile_money": {"phone": phone, "provider": provider},
            "metadata": {"order": "1"},
        } | changes
        self.reference = body["reference"]
        return await self.call("POST", "/charge", {k: v for k, v in body.items() if k not in without}, key)

    async def verify(self, reference=None):
        return await self.call("GET", f"/transaction/verify/{reference or self.reference}")

    async def paid(self):
        await self.charge()
        return (await self.verify()).body["data"]

    async def recipient(self, **changes):
        body = {"type": "mobile_money", "name": "Ama Mensah", "account_number": MTN, "bank_code": "MTN"}
        return await self.call("POST", "/transferrecipient", body | {"currency": "GHS"} | changes)

    async def transfer(self, **changes):
        code = (await self.recipient()).body["data"]["recipient_code"]
        body = {"source": "balance", "amount": 80, "recipient": code, "reference": str(uuid4())}
        body |= {"reason": "Prize", "currency": "GHS"} | changes
        self.reference = body["reference"]
        return await self.call("POST", "/transfer", body)

    async def wants_events(self, ear):
        account = {"secret_key": KEY, "webhook_url": f"{ear.url}/hook"}
        answer = await self.world.control("PUT", "paystack/credentials", account)
        assert answer.status == 200, answer.body

    async def verify_transfer(self):
        return await self.call("GET", f"/transfer/verify/{self.reference}")

    async def refund(self, **changes):
        return await self.call("POST", "/refund", {"transaction": self.reference} | changes)

    async def faults(self, **faults):
        await put_faults(self.world, "paystack", faults)

    async def book(self):
        return (await self.world.control("GET", "paystack/book")).body

    async def script(self, **step):
        answer = await self.world.control("PUT", "paystack/script", {"next": [step]})
        assert answer.status == 200, answer.body
