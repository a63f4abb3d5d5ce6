"""Names of rails are resolved by the system; a silent name server delays its own rail only."""

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from rails.raw_server import answering, raw_server
from synccash.rails.http.transport import Exchange, Transport, TransportFailure, TransportFault
from synccash.resilience.evidence import Evidence


class System:
    """Stands for the system's resolver: knows `*.rail.example`, and does not answer for silent names until it
    is released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.released = threading.Event()

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002 - as in socket
        self.asked.append(host)
        self.threads.add(threading.get_ident())
        if host.startswith("silent"):
            self.released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host.endswith(".rail.example"):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch):
    system = System()
    monkeypatch.setattr(socket, "getaddrinfo", system.getaddrinfo)
    yield system
    system.released.set()


def get(transport: Transport, url: str, timeout_s: float = 30.0):
    return transport.request("GET", url, headers={}, timeout_s=timeout_s, connect_timeout_s=timeout_s)


async def test_a_name_that_only_the_system_knows_is_resolved(system: System, transport: Transport):
    async with raw_server(answering(200, b"{}")) as server:
        port = server.url.rsplit(":", 1)[1]
        answer = await get(transport, f"http://momo.rail.example:{port}/")
    assert isinstance(answer, Exchange), answer
    assert "momo.rail.example" in system.asked


async def test_silent_name_servers_delay_no_other_rail_and_keep_one_thread_for_each_name(
    system: System, transport: Transport
):
    names = [f"silent{n}.example" for n in range(40)]
    async with raw_server(answering(200, b"{}")) as server:
        port = server.url.rsplit(":", 1)[1]
        for _ in range(2):
            failures = await asyncio.gather(*(get(transport, f"http://{name}/", 0.05) for name in names))
            assert {getattr(one, "evidence", None) for one in failures} == {Evidence.NOT_SENT}
        answer = await get(transport, f"http://momo.rail.example:{port}/")
        # What uses the threads of the event loop, such as PostgreSQL's connections, is not delayed either.
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("db.rail.example", 5432), 30)
    assert isinstance(answer, Exchange), answer
    assert sorted(name for name in system.asked if name.startswith("silent")) == sorted(names)


async def test_a_name_that_the_system_cannot_resolve_was_not_sent_to(system: System, transport: Transport):
    system.released.set()
    answer = await get(transport, "http://silent.example/")
    assert isinstance(answer, TransportFailure)
    assert (answer.evidence, answer.fault) == (Evidence.NOT_SENT, TransportFault.UNREACHABLE)


async def test_requests_that_wait_for_a_name_at_the_stop_were_not_sent(system: System):
    transport = Transport()
    hanging = [asyncio.create_task(get(transport, "http://silent.example/")) for _ in range(3)]
    while not system.asked:  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(0.001)
    await transport.aclose()
    for answer in await asyncio.gather(*hanging):
        assert isinstance(answer, TransportFailure)
        assert answer.evidence is Evidence.NOT_SENT


async def test_a_name_that_is_not_valid_was_not_sent_to(transport: Transport):
    answer = await get(transport, f"http://{'x' * 70}.example/")
    assert isinstance(answer, TransportFailure)
    assert answer.evidence is Evidence.NOT_SENT


def test_a_process_ends_while_a_lookup_hangs():
    program = """
import asyncio, socket, threading
from synccash.rails.http.transport import Transport

asked = threading.Event()

def silent(*_args, **_kwargs):
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = silent

async def main():
    transport = Transport()
    sent = transport.request("POST", "http://silent.example/", headers={}, timeout_s=0.2)
    print((await sent).evidence, asked.is_set())
    await transport.aclose()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "not_sent True\n", "")
