"""An unresponsive name server delays webhooks of its own endpoint only."""

import asyncio
import subprocess
import sys

import pytest

from synccash.webhooks.name_lookups import NameLookupError, NameLookups
from synccash.webhooks.sender import WebhookSender
from webhooks.merchant_server import merchant_server
from webhooks.name_server import name_server

ENDPOINTS = 40


async def post(sender: WebhookSender, url: str, timeout_s: float = 30.0):
    return await sender.post(url, headers={"webhook-id": "evt_1"}, body=b"{}", timeout_s=timeout_s)


async def test_forty_names_at_a_silent_name_server_delay_no_other_name():
    async with name_server() as names, merchant_server() as server:
        sender = WebhookSender(private=True, resolver=NameLookups([names.url], timeout_s=30.0))
        port = server.url.rsplit(":", 1)[1]
        hanging = [
            asyncio.create_task(post(sender, f"http://w{n}.silent.example:{port}")) for n in range(ENDPOINTS)
        ]
        silent = {f"w{n}.silent.example" for n in range(ENDPOINTS)}
        while not silent <= set(names.asked):
            await names.arrived.get()
        for n in range(3):
            assert (await post(sender, f"http://shop{n}.example:{port}")).delivered
        assert not any(task.done() for task in hanging)
        # They are delivered as soon as the name server answers one of the repeated questions.
        names.silent = False
        assert all([(await task).delivered for task in hanging])
        await sender.aclose()


async def test_a_lookup_ends_after_its_timeout():
    async with name_server() as names:
        sender = WebhookSender(resolver=NameLookups([names.url], timeout_s=0.05))
        answer = await post(sender, "https://silent.example")
        assert answer.error == "silent.example: no answer of a name server in 0.05 s"
        await sender.aclose()


async def test_a_post_ends_after_its_own_timeout_while_a_lookup_hangs():
    async with name_server() as names:
        sender = WebhookSender(resolver=NameLookups([names.url], timeout_s=30.0))
        answer = await post(sender, "https://silent.example", timeout_s=0.05)
        assert answer.error == "no answer within 0 s"
        await sender.aclose()


async def test_a_name_that_leads_to_a_private_address_is_refused_and_not_connected_to():
    async with name_server(address="127.0.0.1") as names, merchant_server() as server:
        guarded = WebhookSender(resolver=NameLookups([names.url]))
        answer = await post(guarded, "https://shop.example/hook")
        assert answer.error is not None
        assert "shop.example does not lead to a public address" in answer.error
        assert "webhook_private_addresses" in answer.error
        await guarded.aclose()
        assert server.received == []


async def test_stopping_fails_pending_and_later_lookups():
    async with name_server() as names:
        lookups = NameLookups([names.url], timeout_s=30.0)
        hanging = asyncio.create_task(lookups.resolve("silent.example"))
        await names.arrived.get()
        await lookups.close()
        with pytest.raises(NameLookupError, match=r"silent\.example"):
            await hanging
        with pytest.raises(NameLookupError, match="stopping"):
            await lookups.resolve("shop.example")


async def test_a_name_that_is_not_valid_is_refused_without_a_question():
    async with name_server() as names:
        lookups = NameLookups([names.url])
        for name in (f"{'x' * 70}.example", "a..example"):
            with pytest.raises(NameLookupError, match="domain name"):
                await lookups.resolve(name)
        assert names.asked == []
        await lookups.close()


def test_a_process_ends_while_a_lookup_hangs():
    program = """
import asyncio, socket
from synccash.webhooks.name_lookups import NameLookups

async def main():
    loop = asyncio.get_running_loop()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    silent.setblocking(False)
    lookups = NameLookups(["127.0.0.1:%d" % silent.getsockname()[1]])
    waiting = asyncio.create_task(lookups.resolve("silent.example"))
    await loop.sock_recv(silent, 600)
    await lookups.close()
    await asyncio.wait([waiting])
    print(type(waiting.exception()).__name__)
    silent.close()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "NameLookupError\n", "")


async def test_names_of_the_hosts_file_are_resolved():
    async with merchant_server() as server:
        sender = WebhookSender(private=True, resolver=NameLookups())
        assert (await post(sender, server.url.replace("127.0.0.1", "localhost"))).delivered
        await sender.aclose()
