"""An unresponsive name server delays webhooks of its own merchant only."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp.abc import ResolveResult

from synccash.webhooks.name_lookups import EACH, NameLookupError, NameLookups, lookups_of
from synccash.webhooks.sender import WebhookSender
from webhooks.merchant_server import merchant_server

ENDPOINTS = 40


class Names:
    """Takes the place of the system's resolver: names under `silent.example` hang until they are released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def lookup(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        self.asked.append(host)
        if host.endswith("silent.example"):
            self.released.wait()
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]


@pytest.fixture
def names() -> Generator[Names]:
    names = Names()
    yield names
    names.released.set()


async def post(sender: WebhookSender, url: str, merchant_id: str):
    headers = {"webhook-id": "evt_1"}
    return await sender.post(url, headers=headers, body=b"{}", timeout_s=30.0, merchant_id=merchant_id)


async def resolve(lookups: NameLookups, host: str, merchant_id: str) -> list[ResolveResult]:
    with lookups_of(merchant_id):
        return await lookups.resolve(host)


async def until(true: Callable[[], bool]) -> None:
    """Let threads go on until something holds."""
    while not true():  # noqa: ASYNC110 - a thread changes it, and has no way to set an event of the loop
        await asyncio.sleep(0)


async def test_forty_endpoints_at_a_silent_name_server_delay_no_other_merchant(names: Names):
    sender = WebhookSender(private=True, resolver=NameLookups(names.lookup, timeout_s=30.0))
    async with merchant_server() as server:
        port = server.url.rsplit(":", 1)[1]
        hanging = [
            asyncio.create_task(post(sender, f"http://w{n}.silent.example:{port}", "m_silent"))
            for n in range(ENDPOINTS)
        ]
        await until(lambda: len(names.asked) >= EACH)
        for n in range(3):
            assert (await post(sender, f"http://shop{n}.example:{port}", "m_shop")).delivered
        silent = [host for host in names.asked if host.endswith("silent.example")]
        assert len(silent) == EACH
        assert not any(task.done() for task in hanging)
        # They are delivered as soon as the name server answers.
        names.released.set()
        assert all([(await task).delivered for task in hanging])
    await sender.aclose()


async def test_hanging_lookups_do_not_use_the_default_executor(names: Names):
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as only_thread:
        loop.set_default_executor(only_thread)
        lookups = NameLookups(names.lookup, timeout_s=30.0)
        hanging = asyncio.create_task(resolve(lookups, "silent.example", "m_1"))
        await until(lambda: bool(names.asked))
        assert await loop.run_in_executor(None, lambda: "free") == "free"
        names.released.set()
        assert [found["host"] for found in await hanging] == ["127.0.0.1"]


async def test_the_lookup_threads_of_all_merchants_are_bounded(names: Names):
    lookups = NameLookups(names.lookup, threads=3, each=2, timeout_s=30.0)
    hanging = [
        asyncio.create_task(resolve(lookups, f"{m}{n}.silent.example", m)) for m in "abc" for n in "12"
    ]
    await until(lambda: len(names.asked) == 3)
    # A merchant with a thread left may use it at once, were it not for the bound of all.
    late = asyncio.create_task(resolve(lookups, "shop.example", "d"))
    await asyncio.sleep(0)
    assert sorted(names.asked) == ["a1.silent.example", "a2.silent.example", "b1.silent.example"]
    names.released.set()
    await asyncio.gather(*hanging, late)
    assert len(names.asked) == len(hanging) + 1


async def test_after_a_timeout_a_name_is_refused_at_once_until_its_lookup_ends(names: Names):
    lookups = NameLookups(names.lookup, timeout_s=0.01)
    sender = WebhookSender(resolver=lookups)
    first = await post(sender, "https://silent.example", "m_1")
    assert first.error == "silent.example: no answer of a name server in 0.01 s"
    second = await post(sender, "https://silent.example", "m_1")
    assert second.error == "silent.example: its name server still does not answer an earlier lookup"
    await until(lambda: names.asked == ["silent.example"])
    # Lookup results are not shared between merchants.
    await post(sender, "https://silent.example", "m_2")
    await until(lambda: names.asked == ["silent.example"] * 2)
    names.released.set()
    found = None
    while found is None:
        try:
            found = await resolve(lookups, "silent.example", "m_1")
        except NameLookupError:
            await asyncio.sleep(0)
    assert found[0]["host"] == "127.0.0.1"
    await sender.aclose()


async def test_a_name_that_only_waited_for_a_thread_is_looked_up_later(names: Names):
    lookups = NameLookups(names.lookup, each=1, timeout_s=0.01)
    for host in ("silent.example", "shop.example", "shop.example"):
        with pytest.raises(NameLookupError, match="no answer of a name server"):
            await resolve(lookups, host, "m_1")
    await until(lambda: names.asked == ["silent.example"])


async def test_stopping_fails_pending_and_later_lookups(names: Names):
    lookups = NameLookups(names.lookup, each=1, timeout_s=30.0)
    hanging = [asyncio.create_task(resolve(lookups, f"{n}.silent.example", "m_1")) for n in "12"]
    await until(lambda: bool(names.asked))
    await lookups.close()
    assert [str(error) for error in await asyncio.gather(*hanging, return_exceptions=True)] == [
        "the service is stopping"
    ] * 2
    with pytest.raises(NameLookupError, match="stopping"):
        await resolve(lookups, "shop.example", "m_1")
    assert names.asked == ["1.silent.example"]


def test_a_process_ends_while_a_lookup_hangs():
    program = """
import asyncio, threading
from synccash.webhooks.name_lookups import NameLookups

async def main():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    def hang(*_):
        loop.call_soon_threadsafe(begun.set)
        threading.Event().wait()
    lookups = NameLookups(hang)
    waiting = asyncio.create_task(lookups.resolve("silent.example"))
    await begun.wait()
    await lookups.close()
    await asyncio.wait([waiting])
    print(waiting.exception())

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the service is stopping\n", "")


async def test_an_error_in_a_lookup_ends_the_post_and_frees_its_thread():
    def broken(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        raise UnicodeError("label too long") if host == "long.example" else socket.gaierror(-2, "unknown")

    sender = WebhookSender(resolver=NameLookups(broken, threads=1, each=1))
    for _ in range(3):
        answer = await post(sender, "https://long.example", "m_1")
        assert answer.error == "long.example is not a name: label too long"
        answer = await post(sender, "https://gone.example", "m_1")
        assert answer.error == "ClientConnectorDNSError"
    await sender.aclose()


async def test_the_system_resolver_is_the_default():
    async with merchant_server() as server:
        sender = WebhookSender(private=True)
        assert (await post(sender, server.url.replace("127.0.0.1", "localhost"), "m_1")).delivered
        await sender.aclose()
