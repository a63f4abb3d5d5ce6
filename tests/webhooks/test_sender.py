"""One post to a merchant's server: allowed addresses, and attempts to reach private ones."""

import asyncio
import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from rails.raw_server import Line, raw_server
from synccash.payments.webhook import DeliveryResult
from synccash.webhooks.sender import WebhookSender
from webhooks.merchant_server import merchant_server

PUBLIC = "93.184.216.34"


class Names(AbstractResolver):
    """Resolves a name to the next of its addresses each time, and repeats the last one."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET):
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def posted(names: Names, url: str = "https://shop.example/hook"):
    sender = WebhookSender(resolver=names)
    try:
        return await sender.post(url, headers={}, body=b"{}", timeout_s=30.0)
    finally:
        await sender.aclose()


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1"],
        ["fd00::1"],
        [PUBLIC, "127.0.0.1"],
        [],
    ],
)
async def test_a_name_that_resolves_to_a_private_address_is_refused_at_use(addresses: list[str]):
    answer = await posted(Names(addresses))
    assert answer.status is None
    assert "does not lead to a public address" in (answer.error or "")


async def test_a_name_is_resolved_and_checked_again_for_each_post():
    async with merchant_server() as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        names = Names(["127.0.0.1"])
        sender = WebhookSender(private=True, resolver=names)
        url = f"http://shop.example:{port}/hook"
        headers = {"webhook-id": "evt_1"}
        assert (await sender.post(url, headers=headers, body=b"{}", timeout_s=30.0)).delivered
        await sender.aclose()
        # A sender without private access resolves the same name each time and refuses it each time.
        guarded = WebhookSender(resolver=names)
        for _ in range(2):
            answer = await guarded.post(
                "https://shop.example/hook", headers=headers, body=b"{}", timeout_s=30.0
            )
            assert "public address" in (answer.error or "")
        await guarded.aclose()
        assert names.asked == 3
        assert len(server.received) == 1


async def test_a_redirect_is_a_failure_and_is_not_followed():
    async with merchant_server() as inside, merchant_server() as server:
        server.answers = [web.Response(status=307, headers={"Location": inside.url})]
        sender = WebhookSender(private=True)
        answer = await sender.post(server.url, headers={"webhook-id": "evt_1"}, body=b"{}", timeout_s=30.0)
        await sender.aclose()
        assert (answer.delivered, answer.status) == (False, 307)
        assert inside.received == []


async def sent_to(url: str, timeout_s: float = 30.0) -> DeliveryResult:
    sender = WebhookSender(private=True)
    try:
        return await sender.post(url, headers={}, body=b"{}", timeout_s=timeout_s)
    finally:
        await sender.aclose()


@pytest.mark.parametrize("status", [200, 500])
async def test_an_endless_response_body_is_cut_and_its_status_counts(status: int):
    cut = asyncio.Event()

    async def speak(line: Line):
        try:
            await line.say(f"HTTP/1.1 {status} Said\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await line.say(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        except ConnectionError:
            cut.set()
            raise

    async with raw_server(speak) as server, asyncio.timeout(30):
        answer = await sent_to(server.url, timeout_s=60.0)
        assert (answer.status, answer.delivered) == (status, status == 200)
        await cut.wait()


async def test_a_response_head_in_endless_small_parts_is_cut_at_the_time_out():
    async def speak(line: Line):
        await line.say("HTTP/1.1 200 ")
        while True:
            await line.say(b"x")
            await asyncio.sleep(0.01)

    async with raw_server(speak) as server, asyncio.timeout(30):
        answer = await sent_to(server.url, timeout_s=0.2)
    assert (answer.status, answer.delivered) == (None, False)
    assert (answer.error or "").startswith("no answer within")


async def test_a_body_in_two_parts_is_read_as_one():
    async def speak(line: Line):
        await line.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await asyncio.sleep(0.1)
        await line.say(b"cd")

    async with raw_server(speak) as server, asyncio.timeout(30):
        assert (await sent_to(server.url)).body == b"abcd"


async def test_a_body_that_never_ends_does_not_undo_the_status():
    held = asyncio.Event()

    async def speak(line: Line):
        await line.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await held.wait()

    async with raw_server(speak) as server, asyncio.timeout(30):
        answer = await sent_to(server.url, timeout_s=60.0)
        assert (answer.delivered, answer.body) == (True, b"ab")
        held.set()


@pytest.mark.parametrize("asked", ["\u00b2", "\u0663", "-1", "1e9", "Fri, 01 Jan 2027 00:00:00 GMT"])
async def test_a_retry_after_that_is_no_number_of_seconds_is_ignored(asked: str):
    async def speak(line: Line):
        await line.say(f"HTTP/1.1 503 Busy\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(speak) as server, asyncio.timeout(30):
        answer = await sent_to(server.url)
    assert (answer.status, answer.retry_after_s) == (503, None)
