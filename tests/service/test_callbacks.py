"""Callbacks of every sandbox rail to the real API over PostgreSQL are treated as hints only."""

import asyncio
import contextlib
import socket
import uuid
from hashlib import sha256

import aiohttp
import asyncpg
import httpx
import pytest
from aiohttp import web

from sandbox.momo import World
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.request import Role
from synccash.processes.api import application
from synccash.processes.assembly.service import assembled
from synccash.rails.registry import RAILS
from synccash.rails.sandbox_account import SandboxRail
from synccash.settings.loader import convert_settings

NEVER_BY_ITSELF = InquirySchedule(steps=(3_600.0,), tail=((3_600.0, 1e9),))
AT_ONCE = InquirySchedule(steps=(0.05,), tail=((0.05, 1e9),))
KEY = "sk_test_of_the_callbacks"


class Desk:
    """The service as a merchant and the rails meet it. `answered`: the callbacks that had their answer."""

    def __init__(self, world, database):
        self.world = world
        self.database = database
        self.answered = asyncio.Queue()
        self.statuses = []

    async def forward(self, request):
        """Take a request from the network to the application."""
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        answer = await self.client.request(
            request.method, request.path, content=await request.read(), headers=headers
        )
        self.statuses.append(answer.status_code)
        self.answered.put_nowait(request.path)
        return web.Response(status=answer.status_code)

    async def control(self, path, body):
        answer = await self.world.control("PUT", path, body)
        assert answer.status == 200, answer.body

    async def pay(self, rail, *steps):
        await self.control(f"{rail}/script", {"next": list(steps)})
        body = {"amount": 2_500, "currency": "GHS", "payer": {"msisdn": "0241234567"}, "rail": rail}
        answer = await self.client.post(
            "/api/v1/payments",
            json=body | {"reference": uuid.uuid4().hex},
            headers={"Authorization": f"Bearer {KEY}", "Idempotency-Key": uuid.uuid4().hex},
        )
        assert answer.status_code in (201, 202), answer.text
        return answer.json()["id"]

    async def payment(self, payment_id):
        path = f"/api/v1/payments/{payment_id}"
        return (await self.client.get(path, headers={"Authorization": f"Bearer {KEY}"})).json()

    async def until(self, payment_id, holds):
        async with asyncio.timeout(30):
            while not holds(payment := await self.payment(payment_id)):  # noqa: ASYNC110 - another task's doing
                await asyncio.sleep(0.02)
        return payment

    async def callback(self):
        return await asyncio.wait_for(self.answered.get(), 30)

    async def asked(self, payment_id):
        """How often the rail was asked, and whether it is to be asked now."""
        row = await self.database.fetchrow(
            "SELECT a.inquiries, p.hinted OR p.due_at < now() + interval '60 s' AS soon"
            " FROM payments p JOIN attempts a ON a.order_id = p.id WHERE p.id = $1",
            payment_id,
        )
        return row["inquiries"], row["soon"]

    async def debits(self, rail):
        return (await self.world.control("GET", f"{rail}/book")).body["debits"]


@contextlib.asynccontextmanager
async def desk_over(database_url, folder, monkeypatch, schedule, **changes):
    monkeypatch.setattr("synccash.processes.assembly.engine_settings.PRODUCTION", schedule)
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        world = await World(folder, session).start()
        stack.push_async_callback(world.stop)
        database = await asyncpg.connect(database_url)
        stack.push_async_callback(database.close)
        desk = Desk(world, database)
        network = web.Server(desk.forward, access_log=None)
        site = await asyncio.get_running_loop().create_server(network, "127.0.0.1", 0, family=socket.AF_INET)
        stack.callback(site.close)
        public_url = f"http://localhost:{site.sockets[0].getsockname()[1]}"
        given = {
            "public_url": public_url,
            "installation_key": "5c" * 32,
            "encryption_keys": "1:" + "e1" * 32,
            "lookup_key": "e2" * 32,
            "settle_s": 0.1,
        }
        for rail, url in world.sandbox.rail_urls.items():
            callbacks = f"{public_url}/api/v1/callbacks/{rail}"
            place = SandboxRail(url=url, user=str(uuid.UUID(int=4)), key="5d" * 16, callbacks=callbacks)
            account = RAILS[rail].sandbox_account(place)
            given |= account.settings
            for resource, body in account.control.items():
                await desk.control(f"{rail}/{resource}", body)
            await desk.control(f"{rail}/faults", {"approve_after_ms": 0})
        # Else the engine asks at the end of the prompt, as the sandbox's account has it.
        given["hubtel_prompt_window_s"] = "3600"
        settings = convert_settings(given | changes)
        desk.settings = settings
        service = await stack.enter_async_context(assembled(settings, database_url))
        await service.keys.ensure_merchant("mer_test", "test")
        hashed = sha256(KEY.encode()).digest()
        await service.keys.ensure_key(hashed, Role.MERCHANT, merchant_id="mer_test", livemode=False)
        transport = httpx.ASGITransport(app=application(service, settings))
        desk.client = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url=public_url)
        )
        working = asyncio.create_task(service.engine.worker.run())
        stack.push_async_callback(asyncio.wait, [working])
        stack.callback(service.engine.worker.stop)
        yield desk


@pytest.fixture
async def desk(database_url, tmp_path, monkeypatch):
    async with desk_over(database_url, tmp_path / "sandbox", monkeypatch, NEVER_BY_ITSELF) as desk:
        yield desk


def ended(payment):
    return payment["status"] in ("succeeded", "failed", "canceled")


async def test_a_callback_brings_the_inquiry_forward_even_if_repeated(desk):
    for rail in RAILS:
        await desk.control(f"{rail}/faults", {"callbacks": "duplicate"})
        payment = await desk.until(await desk.pay(rail), ended)
        assert (payment["status"], payment["rail"], payment["amount_received"]) == ("succeeded", rail, 2_500)
        assert await desk.callback() == await desk.callback()
        assert len(await desk.debits(rail)) == 1
    assert set(desk.statuses) == {200}


async def test_a_payment_without_a_callback_waits_for_its_scheduled_inquiry(desk):
    for rail in RAILS:
        await desk.control(f"{rail}/faults", {"callbacks": "lost"})
        payment_id = await desk.pay(rail)
        assert await desk.asked(payment_id) == (0, False)
        await desk.database.execute("UPDATE payments SET due_at = now() WHERE id = $1", payment_id)
        assert (await desk.until(payment_id, ended))["status"] == "succeeded"
    assert desk.answered.empty()


async def test_a_forged_success_moves_no_money_state(desk):
    for rail in RAILS:
        await desk.control(f"{rail}/faults", {"callbacks": "forged"})
        payment_id = await desk.pay(rail, {"end": "NEVER"})
        await desk.callback()
        if rail != "paystack":  # its signature tells a forgery from a hint
            async with asyncio.timeout(30):
                while (await desk.asked(payment_id))[0] == 0:  # noqa: ASYNC110 - another task's doing
                    await asyncio.sleep(0.02)
        assert (await desk.payment(payment_id))["status"] == "processing"
        assert await desk.debits(rail) == []
        if rail == "paystack":
            assert await desk.asked(payment_id) == (0, False)


@pytest.mark.parametrize("rail", ["paystack", "pawapay"])
async def test_only_the_accounts_token_is_accepted_and_any_other_gets_the_same_response(desk, rail):
    ours = getattr(desk.settings, f"{rail}_callback_token").reveal()
    payment_id = await desk.pay(rail, {"end": "NEVER"})
    reference = (await desk.payment(payment_id))["attempts"][0]["reference"]
    for token in ("main", ours[:-1], ours + "0", "x" * 64):
        answer = await desk.client.post(
            f"/api/v1/callbacks/{rail}/{token}", json={"depositId": reference, "status": "COMPLETED"}
        )
        assert answer.status_code == 200
    assert await desk.asked(payment_id) == (0, False)
    assert len(ours) >= 32


async def test_hubtel_s_failure_needs_its_callback_and_an_unpaid_past_the_prompt(
    database_url, tmp_path, monkeypatch
):
    folder = tmp_path / "sandbox"
    window = {"hubtel_prompt_window_s": "0.5"}
    async with desk_over(database_url, folder, monkeypatch, AT_ONCE, **window) as desk:
        told = await desk.pay("hubtel", {"end": "WRONG_PIN"})
        await desk.callback()
        await desk.control("hubtel/faults", {"callbacks": "lost"})
        untold = await desk.pay("hubtel", {"end": "WRONG_PIN"})
        payment = await desk.until(told, ended)
        assert payment["status"] == "failed"
        assert payment["last_error"]["code"] is not None
        payment = await desk.until(untold, lambda one: one["status_detail"] == "under_review")
        assert payment["status"] == "processing"
        assert await desk.debits("hubtel") == []
