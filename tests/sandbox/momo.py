"""What the sandbox tests share: a merchant, an ear for callbacks, a world with its own time."""

import asyncio
import contextlib
import socket
from pathlib import Path
from random import Random
from uuid import uuid4

import aiohttp
from aiohttp import web

from synccash.sandbox.rail import Timings
from synccash.sandbox.server import run_sandbox

PAYER = "233241234567"


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def code(self):
        return self.body.get("code")


async def ask(session, method, url, **kwargs):
    """Send one request and read it whole; JSON bodies come back decoded, all others as text."""
    async with session.request(method, url, allow_redirects=False, **kwargs) as response:
        is_json = "json" in response.headers.get("Content-Type", "")
        return Answer(
            response.status, response.headers, await (response.json() if is_json else response.text())
        )


async def put_faults(world, rail, faults):
    """Change the standing faults of one rail; return all of them."""
    answer = await world.control("PUT", f"{rail}/faults", faults)
    assert answer.status == 200, answer.body
    return answer.body


class Merchant:
    """A client of MTN as any merchant writes one: only the base URL says that this is a sandbox."""

    def __init__(self, session, base_url, environment="mtnghana", currency="GHS", key="a-subscription-key"):
        self.session = session
        self.base_url = base_url
        self.environment = environment
        self.currency = currency
        self.key = key
        self.tokens = {}

    async def call(self, method, path, *, headers=None, without=(), **kwargs):
        sent = {"Ocp-Apim-Subscription-Key": self.key, "X-Target-Environment": self.environment}
        product = path.split("/")[1]
        if product in self.tokens:
            sent["Authorization"] = f"Bearer {self.tokens[product]}"
        sent |= headers or {}
        sent = {name: value for name, value in sent.items() if name not in without}
        return await ask(self.session, method, self.base_url + path, headers=sent, **kwargs)

    async def provision(self, callback_host="localhost"):
        self.user = str(uuid4())
        made = await self.call(
            "POST",
            "/v1_0/apiuser",
            headers={"X-Reference-Id": self.user},
            json={"providerCallbackHost": callback_host},
        )
        assert (made.status, made.body) == (201, "")
        answer = await self.call("POST", f"/v1_0/apiuser/{self.user}/apikey")
        assert answer.status == 201
        self.api_key = answer.body["apiKey"]
        for product in ("collection", "disbursement"):
            answer = await self.take_token(product)
            self.tokens[product] = answer.body["access_token"]
        return self

    async def take_token(self, product, key=None, **kwargs):
        basic = aiohttp.encode_basic_auth(self.user, self.api_key if key is None else key)
        return await self.call(
            "POST",
            f"/{product}/token/",
            headers={"Authorization": basic} | kwargs.pop("headers", {}),
            **kwargs,
        )

    async def send(self, path, body, *, reference=None, callback=None, headers=None, **kwargs):
        sent = {"X-Reference-Id": reference or str(uuid4())} | (headers or {})
        if callback is not None:
            sent["X-Callback-Url"] = callback
        return await self.call("POST", path, headers=sent, json=body, **kwargs)

    def body(self, msisdn=PAYER, amount="25.00", party="payer", **changes):
        return {
            "amount": amount,
            "currency": self.currency,
            "externalId": "order-1",
            party: {"partyIdType": "MSISDN", "partyId": msisdn},
            "payerMessage": "Two tickets",
            "payeeNote": "order 1",
        } | changes

    async def collect(self, msisdn=PAYER, amount="25.00", *, reference=None, callback=None, **kwargs):
        body = self.body(msisdn, amount)
        return await self.send(
            "/collection/v1_0/requesttopay", body, reference=reference, callback=callback, **kwargs
        )

    async def status(self, reference, operation="collection/requesttopay"):
        product, name = operation.split("/")
        return await self.call("GET", f"/{product}/v1_0/{name}/{reference}")


class Ear:
    """Hears callbacks, in the order in which they come."""

    def __init__(self):
        self.callbacks = asyncio.Queue()
        self.history = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def hear(self, request):
        callback = {
            "method": request.method,
            "path": request.path,
            "headers": dict(request.headers),
            "raw": await request.read(),
            "body": await request.json(),
        }
        self.history.append(callback)
        self.callbacks.put_nowait(callback)
        await self.may_answer.wait()
        return web.Response()

    async def next(self):
        return await asyncio.wait_for(self.callbacks.get(), 30)


@contextlib.asynccontextmanager
async def listening():
    ear = Ear()
    server = web.Server(ear.hear, access_log=None)
    site = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, family=socket.AF_INET)
    ear.url = f"http://localhost:{site.sockets[0].getsockname()[1]}"
    try:
        yield ear
    finally:
        site.close()
        server.pre_shutdown()
        await server.shutdown(timeout=1)


class World:
    """A sandbox that can be stopped and started again on its folder, in a time that only the test moves."""

    def __init__(self, folder: Path, session):
        self.now = 1_790_000_000.0
        self.folder = folder
        self.session = session
        self._merchants = []
        self._stack = contextlib.AsyncExitStack()

    async def start(self):
        running = run_sandbox(
            data_dir=self.folder,
            clock=lambda: self.now,
            rng=Random(7),
            timings=Timings(),
        )
        self.sandbox = await self._stack.enter_async_context(running)
        self.url = self.sandbox.url
        self.momo_url = self.sandbox.rail_urls["mtn_momo"]
        for merchant in self._merchants:
            merchant.base_url = self.momo_url
        return self

    async def stop(self):
        await self._stack.aclose()

    async def sleep_through(self, seconds):
        """Let `seconds` pass while the sandbox is stopped; what falls due meanwhile happens as it starts."""
        await self.stop()
        self.now += seconds
        await self.start()

    async def merchant(self, **kwargs):
        merchant = await Merchant(self.session, self.momo_url, **kwargs).provision()
        self._merchants.append(merchant)
        return merchant

    async def control(self, method, path, body=None):
        return await ask(
            self.session, method, f"{self.url}/control/{path}", **({} if body is None else {"json": body})
        )

    async def faults(self, **faults):
        return await put_faults(self, "mtn_momo", faults)

    async def script(self, *steps):
        answer = await self.control("PUT", "mtn_momo/script", {"next": list(steps)})
        assert answer.status == 200, answer.body

    async def settings(self, **settings):
        answer = await self.control("PUT", "mtn_momo/settings", settings)
        assert answer.status == 200, answer.body

    async def book(self):
        return (await self.control("GET", "mtn_momo/book")).body
