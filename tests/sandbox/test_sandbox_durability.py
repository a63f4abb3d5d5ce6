"""What the sandbox keeps: over a restart, over a kill -9, and against a second sandbox on its folder."""

import asyncio
import contextlib
import os
import signal
import sys
from uuid import uuid4

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
        while "mtn_momo" not in self.urls:
            line = await asyncio.wait_for(self.process.stdout.readline(), 20)
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

    async def book(self):
        return (await ask(self.session, "GET", f"{self.urls['sandbox']}/control/mtn_momo/book")).body

    async def faults(self, **faults):
        return (
            await ask(self.session, "PUT", f"{self.urls['sandbox']}/control/mtn_momo/faults", json=faults)
        ).body


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
