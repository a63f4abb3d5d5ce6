"""An unresponsive name server delays webhooks of its own endpoint only."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from synccash.webhooks.name_lookups import NameLookupError, NameLookups, _some
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
    async with name_server() as names, merchant_server() as server:
        guarded = WebhookSender(resolver=NameLookups([names.url]))
        answer = await post(guarded, "https://shop.example/hook")
        assert answer.error is not None
        assert "shop.example does not lead to a public address" in answer.error
        assert "webhook_private_addresses" in answer.error
        await guarded.aclose()
        assert server.received == []


async def test_of_many_addresses_the_first_of_both_families_are_used():
    four = [f"192.0.2.{n}" for n in range(1, 11)]
    six = [f"2001:db8::{n}" for n in range(1, 11)]
    async with name_server(addresses=four + six) as names:
        lookups = NameLookups([names.url])
        for family, expected in ((socket.AF_INET, {4: 8}), (socket.AF_INET6, {6: 8})):
            found = await lookups.resolve("shop.example", family=family)
            assert Counter(ip_address(one["host"]).version for one in found) == expected
        await lookups.close()
    both = [AddressNode(socket.AF_INET6)] * 10 + [AddressNode(socket.AF_INET)] * 2
    families = [node.family for node in _some(both)]
    assert Counter(families) == {socket.AF_INET6: 6, socket.AF_INET: 2}


@dataclass(frozen=True)
class AddressNode:
    """What is read of an address of c-ares."""

    family: int


async def test_one_private_address_of_several_is_enough_to_refuse_a_name():
    public = [f"93.184.216.{n}" for n in range(1, 8)]
    async with name_server(addresses=[*public, "10.0.0.1"]) as names:
        sender = WebhookSender(resolver=NameLookups([names.url]))
        answer = await post(sender, "https://shop.example/hook")
        assert "shop.example does not lead to a public address" in (answer.error or "")
        await sender.aclose()


async def test_addresses_that_do_not_answer_share_the_time_of_one_post():
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("0.0.0.0", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(3):  # further connections are not answered
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with name_server(addresses=[f"127.0.0.{n}" for n in range(1, 25)]) as names:
            sender = WebhookSender(private=True, resolver=NameLookups([names.url]))
            answer = await post(sender, f"http://shop.example:{port}/hook", timeout_s=0.4)
            assert answer.error == "no answer within 0 s"
            await sender.aclose()


async def test_names_that_lead_to_each_other_are_refused_after_a_few_questions():
    aliases = {"a.loop.example": "b.loop.example", "b.loop.example": "a.loop.example"}
    async with name_server(aliases=aliases) as names:
        sender = WebhookSender(private=True, resolver=NameLookups([names.url]))
        answer = await post(sender, "https://a.loop.example/hook")
        assert (answer.error or "").startswith("a.loop.example: ")
        assert len(names.asked) <= 6
        await sender.aclose()


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
