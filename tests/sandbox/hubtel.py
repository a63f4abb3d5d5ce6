"""A client of Hubtel as any merchant writes one."""

from uuid import uuid4

import aiohttp

from sandbox.momo import PAYER, ask, put_faults

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

    async def send_status(self):
        path = f"/api/merchants/{PREPAID}/transactions/status?clientReference={self.reference}"
        return await self.call("GET", path)

    async def faults(self, **faults):
        await put_faults(self.world, "hubtel", faults)

    async def book(self):
        return (await self.world.control("GET", "hubtel/book")).body

    async def script(self, **step):
        answer = await self.world.control("PUT", "hubtel/script", {"next": [step]})
        assert answer.status == 200, answer.body
