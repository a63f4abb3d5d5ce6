"""What the sandbox keeps: over a restart, over a kill -9, and against a second sandbox on its folder."""

import asyncio
import contextlib
import os
import signal
import sys
from uuid import uuid4

import aiohttp
import pytest

from sandbox.momo import Merchant, World, ask
from synccash.sandbox.journal import Journal
from synccash.sandbox.server import SandboxError, run_sandbox


class Process:
    """`python -m synccash.sandbox` as a process of its own."""

    def __init__(self, folder, session):
        self.folder = folder
        self.session = session
        self.port = 0

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "synccash.sandbox"),
            *("--port", str(self.port), "--data-dir", str(self.folder), "--seed", "7"),
            stdout=asyncio.subprocess.PIPE,
        )
        self.urls = {}
        while "fraud" not in self.urls:  # the last one that is told
            line = await asyncio.wait_for(self.process.stdout.readline(), 30)
            assert line, f"the sandbox ended with code {await self.process.wait()}; its log is on stderr"
            name, _, url = line.decode().strip().partition(" ")
            self.urls[name] = url
        return self

    async def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        await self.process.communicate()

    async def end(self):
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.communicate()
        return self.process.returncode

    async def control(self, method, path, **body):
        given = {"json": body} if body else {}
        return (await ask(self.session, method, f"{self.urls['sandbox']}/control/{path}", **given)).body

    async def book(self, rail="mtn_momo"):
        return await self.control("GET", f"{rail}/book")

    async def faults(self, **faults):
        return await self.control("PUT", "mtn_momo/faults", **faults)


@pytest.fixture
async def process(tmp_path, session):
    process = await Process(tmp_path / "sandbox", session).start()
    yield process
    await process.end()


async def test_a_kill_9_loses_no_debit_no_pending_approval_no_credential(process, session, ear):
    merchant = await Merchant(session, process.urls["mtn_momo"]).provision()
    booked, pending = str(uuid4()), str(uuid4())
    await process.faults(approve_after_ms=0)
    await merchant.collect(reference=booked, callback=f"{ear.url}/booked")
    assert (await ear.next())["path"] == "/booked"
    await process.faults(approve_after_ms=500, error_rate=0.125)
    await process.faults(error_rate=0)
    assert (await merchant.collect(reference=pending, callback=f"{ear.url}/pending")).status == 202

    await process.kill()
    await process.start()

    assert (await ear.next())["path"] == "/pending"
    merchant.base_url = process.urls["mtn_momo"]
    assert (await merchant.status(pending)).body["status"] == "SUCCESSFUL"
    assert (await merchant.collect(reference=booked)).status == 409
    book = await process.book()
    assert [debit["reference"] for debit in book["debits"]] == [booked, pending]
    assert [prompt["reference"] for prompt in book["prompts"]] == [booked, pending]
    assert (await process.faults())["approve_after_ms"] == 500
    assert [heard["path"] for heard in ear.history] == ["/booked", "/pending"]


async def test_a_kill_9_does_not_lose_a_late_success_that_is_pending(process, session, ear):
    merchant = await Merchant(session, process.urls["mtn_momo"]).provision()
    told, silent = str(uuid4()), str(uuid4())
    step = {"end": "EXPIRED", "approve_after_ms": 0, "then_success_after_ms": 3_000}
    await process.control("PUT", "mtn_momo/script", next=[step])
    await merchant.collect(reference=told, callback=f"{ear.url}/told")
    assert (await ear.next())["body"]["status"] == "FAILED"
    await process.faults(approve_after_ms=0, failed_then_success_rate=1.0, late_success_after_ms=3_000)
    await merchant.collect(reference=silent, callback=f"{ear.url}/silent")
    assert (await ear.next())["body"]["status"] == "FAILED"
    assert (await merchant.status(silent)).body["status"] == "FAILED"
    assert (await process.book())["debits"] == []

    await process.kill()
    await process.start()

    merchant.base_url = process.urls["mtn_momo"]
    heard = await ear.next()
    assert (heard["path"], heard["body"]["status"]) == ("/told", "SUCCESSFUL")
    async with asyncio.timeout(30):
        while len((book := await process.book())["debits"]) < 2:
            pass
    assert {debit["reference"] for debit in book["debits"]} == {told, silent}
    assert book["faults"] == {"failed_then_success": 1}
    assert [(await merchant.status(name)).body["status"] for name in (told, silent)] == ["SUCCESSFUL"] * 2
    assert [heard["path"] for heard in ear.history] == ["/told", "/silent", "/told"]


async def test_a_kill_9_loses_nothing_of_paystack_s(process, session, ear):
    headers = {"Authorization": "Bearer sk_test_a_merchant"}

    async def call(method, path, **body):
        given = {"json": body} if body else {}
        return (await ask(session, method, process.urls["paystack"] + path, headers=headers, **given)).body

    def charge(reference):
        wallet = {"phone": "0551234987", "provider": "mtn"}
        asked = {"email": "a@example.com", "amount": 2505, "currency": "GHS", "reference": reference}
        return call("POST", "/charge", **asked, mobile_money=wallet)

    account = {"secret_key": "sk_test_a_merchant", "webhook_url": f"{ear.url}/hook"}
    await process.control("PUT", "paystack/credentials", **account)
    await process.control("PUT", "paystack/faults", approve_after_ms=0)
    await charge("booked")
    assert (await ear.next())["body"]["data"]["reference"] == "booked"
    recipient = {"type": "mobile_money", "name": "Ama", "account_number": "0551234987", "bank_code": "MTN"}
    made = (await call("POST", "/transferrecipient", **recipient, currency="GHS"))["data"]
    await process.control("PUT", "paystack/faults", approve_after_ms=500)
    await charge("pending")

    await process.kill()
    await process.start()

    event = await ear.next()
    assert (event["body"]["event"], event["body"]["data"]["reference"]) == ("charge.success", "pending")
    assert "x-paystack-signature" in event["headers"]
    assert (await call("GET", "/transaction/verify/pending"))["data"]["status"] == "success"
    assert (await charge("booked"))["message"] == "Duplicate Transaction Reference"
    sent = {"source": "balance", "amount": 80, "reference": "a-transfer-of-mine", "currency": "GHS"}
    taken = await call("POST", "/transfer", **sent, recipient=made["recipient_code"])
    assert taken["data"]["recipient"] == made["id"]
    assert [debit["reference"] for debit in (await process.book("paystack"))["debits"]] == [
        "booked",
        "pending",
    ]


async def test_a_kill_9_loses_nothing_of_pawapay_s_nor_of_the_fraud_service_s(process, session, ear):
    async def deposit(reference):
        wallet = {"phoneNumber": "233593456789", "provider": "MTN_MOMO_GHA"}
        body = {"depositId": reference, "payer": {"type": "MMO", "accountDetails": wallet}}
        body |= {"amount": "25.05", "currency": "GHS", "customerMessage": "Two tickets"}
        headers = {"Authorization": "Bearer a-token"}
        url = process.urls["pawapay"] + "/v2/deposits"
        return (await ask(session, "POST", url, headers=headers, json=body)).body["status"]

    booked, pending = str(uuid4()), str(uuid4())
    await process.control("PUT", "pawapay/settings", token="a-token", deposit_callback_url=f"{ear.url}/hook")
    await process.control("PUT", "pawapay/faults", approve_after_ms=0)
    assert await deposit(booked) == "ACCEPTED"
    assert (await ear.next())["body"]["depositId"] == booked
    await process.control("PUT", "pawapay/faults", approve_after_ms=500)
    assert await deposit(pending) == "ACCEPTED"
    question = {"payment_id": "pay_1", "amount": 2505, "msisdn": "233241234666"}
    assert (await ask(session, "POST", process.urls["fraud"], json=question)).body["decision"] == "decline"
    await process.control("PUT", "fraud/faults", latency_ms=5)

    await process.kill()
    await process.start()

    assert (await ear.next())["body"]["depositId"] == pending
    assert await deposit(booked) == "DUPLICATE_IGNORED"
    assert [debit["reference"] for debit in (await process.book("pawapay"))["debits"]] == [booked, pending]
    logged = (await process.control("GET", "fraud/questions"))["questions"]
    assert [(asked["payment_id"], asked["decision"]) for asked in logged] == [("pay_1", "decline")]
    assert (await process.control("GET", "fraud/faults"))["latency_ms"] == 5


async def test_a_kill_9_loses_nothing_of_hubtel_s(process, session, ear):
    keys = {"client_id": "a-client", "client_secret": "a-secret"}
    await process.control("PUT", "hubtel/credentials", **keys, pos_sales_id="1", prepaid_deposit_id="2")
    headers = {"Authorization": aiohttp.encode_basic_auth("a-client", "a-secret")}

    async def receive(reference):
        body = {"CustomerMsisdn": "233241234567", "Channel": "mtn-gh", "Amount": 25.05}
        body |= {"PrimaryCallbackUrl": f"{ear.url}/hook", "Description": "x", "ClientReference": reference}
        url = process.urls["hubtel"] + "/merchantaccount/merchants/1/receive/mobilemoney"
        return (await ask(session, "POST", url, headers=headers, json=body)).body["ResponseCode"]

    await process.control("PUT", "hubtel/faults", approve_after_ms=0)
    assert await receive("booked") == "0001"
    await ear.next()
    await process.control("PUT", "hubtel/faults", approve_after_ms=500)
    assert await receive("pending") == "0001"

    await process.kill()
    await process.start()

    assert (await ear.next())["body"]["Data"]["ClientReference"] == "pending"
    assert await receive("booked") == "4000"
    assert [debit["reference"] for debit in (await process.book("hubtel"))["debits"]] == ["booked", "pending"]


async def test_an_answer_that_left_is_in_the_book_after_a_kill_9(process, session):
    merchant = await Merchant(session, process.urls["mtn_momo"]).provision()
    answered = []

    async def collect():
        reference = str(uuid4())
        if (await merchant.collect(reference=reference)).status == 202:
            answered.append(reference)
        if len(answered) == 20:
            os.kill(process.process.pid, signal.SIGKILL)

    await asyncio.gather(*(collect() for _ in range(60)), return_exceptions=True)
    await process.kill()
    await process.start()
    prompted = {prompt["reference"] for prompt in (await process.book())["prompts"]}
    assert len(answered) >= 20
    assert set(answered) <= prompted


async def test_sigterm_ends_the_process_cleanly(process):
    assert await process.end() == 0


async def test_a_second_sandbox_on_the_same_folder_is_refused(world, tmp_path):
    with pytest.raises(SandboxError, match="--data-dir"):
        async with run_sandbox(data_dir=world.folder):
            pass


async def test_a_port_that_is_taken_is_named(world, tmp_path):
    port = int(world.url.rpartition(":")[2])
    with pytest.raises(SandboxError, match=f"port {port}"):
        async with run_sandbox(data_dir=tmp_path / "other", port=port):
            pass


async def test_a_line_that_a_kill_cut_short_is_forgotten(world, merchant):
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    await world.stop()
    journal = world.folder / "mtn_momo.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"type":"accepted","ord')
    await world.start()
    assert [debit["reference"] for debit in (await world.book())["debits"]] == [reference]
    assert (await merchant.collect()).status == 202
    await world.sleep_through(0)
    assert len((await world.book())["debits"]) == 2


async def test_a_journal_that_cannot_be_read_stops_the_start_and_is_named(tmp_path, session):
    folder = tmp_path / "sandbox"
    folder.mkdir()
    (folder / "mtn_momo.jsonl").write_text('{"type":"unheard of"}\n')
    with pytest.raises(SandboxError, match=r"mtn_momo\.jsonl"):
        await World(folder, session).start()


async def test_scripts_and_settings_outlive_a_restart(world, merchant):
    await world.settings(reason_shape="object")
    await world.script({"answer": "http_503"}, {"end": "EXPIRED"})
    assert (await merchant.collect()).status == 503
    await world.sleep_through(1)
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    assert (await merchant.status(reference)).body["reason"]["code"] == "EXPIRED"


async def test_a_callback_that_left_is_not_sent_again_after_a_restart(world, merchant, ear):
    await merchant.collect(callback=f"{ear.url}/first")
    await ear.next()
    await world.sleep_through(1)
    await merchant.collect(callback=f"{ear.url}/second")
    assert (await ear.next())["path"] == "/second"


def test_the_journal_gives_back_what_it_was_given_after_a_fresh_start(tmp_path):
    journal = Journal(tmp_path / "rail.jsonl")
    assert journal.events() == []
    journal.close()


async def test_the_sandbox_loads_nothing_of_the_engine_it_judges():
    program = (
        "import sys, synccash.sandbox.server\n"
        "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('synccash.')}))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().strip() == "['sandbox']"
