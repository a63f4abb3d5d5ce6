"""How responses leave the server: in few writes, in order, and never late."""

import asyncio

import pytest
import uvicorn

from api.listening import listening
from synccash.processes.http_server import server_config
from synccash.processes.joining_transport import JoiningTransport

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
REQUEST = b"GET / HTTP/1.1\r\nHost: api\r\n\r\n"


class Written:
    """The other side of a transport: what reached it, one entry for each write."""

    def __init__(self):
        self.writes, self.closed = [], False

    def write(self, data):
        assert not self.closed
        self.writes.append(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_extra_info(self, _name):
        return None


@pytest.fixture
async def joined():
    written = Written()
    return JoiningTransport(written, asyncio.get_running_loop()), written


async def one_iteration():
    await asyncio.sleep(0)


async def test_a_head_and_its_body_leave_in_one_write(joined):
    transport, written = joined
    transport.write(b"head ")
    assert written.writes == []
    transport.write(b"body")
    assert written.writes == [b"head body"]
    await one_iteration()
    assert written.writes == [b"head body"]


async def test_a_head_without_a_body_leaves_within_one_iteration_of_the_event_loop(joined):
    transport, written = joined
    transport.write(b"head")
    await one_iteration()
    assert written.writes == [b"head"]


async def test_what_is_held_leaves_before_the_connection_is_closed(joined):
    transport, written = joined
    transport.write(b"head")
    transport.close()
    assert (written.writes, written.closed) == ([b"head"], True)
    await one_iteration()
    assert written.writes == [b"head"]


async def test_nothing_is_written_to_a_connection_that_was_lost_meanwhile(joined):
    transport, written = joined
    transport.write(b"head")
    written.close()
    await one_iteration()
    assert written.writes == []


async def test_the_server_sends_a_response_in_one_write():
    async def app(_scope, _receive, send):
        await send(START)
        await send({"type": "http.response.body", "body": b"body"})

    config = server_config(app, host="127.0.0.1", port=0, timeout_s=10.0, grace_s=1)
    config.load()
    protocol = config.http_protocol_class(
        config=config, server_state=uvicorn.server.ServerState(), app_state={}
    )
    written = Written()
    protocol.connection_made(written)
    protocol.data_received(REQUEST)
    while not written.writes:
        await one_iteration()
    protocol.eof_received()
    protocol.connection_lost(None)
    assert len(written.writes) == 1
    assert written.writes[0].endswith(b"\r\n\r\nbody")
    assert written.closed


async def test_a_client_gets_the_head_before_the_body_is_known():
    has_head = asyncio.Event()

    async def app(_scope, _receive, send):
        await send(START)
        await has_head.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async with listening(app) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        has_head.set()
        assert await reader.readexactly(4) == b"late"
        writer.close()


async def test_pipelined_requests_are_answered_in_order_and_whole():
    served = 0

    async def app(_scope, _receive, send):
        nonlocal served
        served += 1
        number = b"%d" % served
        await send({**START, "headers": [(b"content-length", b"200000")]})
        await send({"type": "http.response.body", "body": number * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": number * 100_000})

    async with listening(app) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST * 3)
        for number in (b"1", b"2", b"3"):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(200_000) == number * 200_000
        writer.close()
