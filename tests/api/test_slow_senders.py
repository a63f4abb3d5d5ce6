"""Slow clients over real sockets: they end at a timeout, and requests without a key are not buffered."""

import asyncio
import contextlib
import json

import pytest

from api.listening import listening
from api.served import PROBLEM, served

WITHIN_S = 0.2
HALF_A_BODY = b"Content-Type: application/json\r\nContent-Length: 500\r\n"


@pytest.fixture
async def api(database_url):
    async with served(database_url, body_timeout_s=WITHIN_S) as api, listening(api.app, WITHIN_S) as port:
        yield api, port


async def told(port, head, body=b""):
    """Send the beginning of a request, and read until the other side hangs up or has answered in full."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"Host: api\r\n\r\n" + body)
    try:
        async with asyncio.timeout(30):
            first, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (field.partition(": ") for field in fields if field)}
            content = await reader.readexactly(int(headers["content-length"]))
            hung_up = headers.get("connection") == "close" and await reader.read() == b""
    finally:
        writer.close()
    return int(first.split()[1]), headers, json.loads(content), hung_up


async def test_a_stalled_body_gets_408_and_the_connection_is_closed(api):
    api, port = api
    key = f"Authorization: Bearer {api.key}\r\n".encode()
    head = b"POST /api/v1/payments HTTP/1.1\r\n" + key + HALF_A_BODY
    status, headers, problem, hung_up = await told(port, head, b'{"amount": 1')
    assert (status, headers["content-type"], hung_up) == (408, PROBLEM, True)
    assert (problem["code"], problem["retryable"]) == ("body_too_slow", True)
    assert problem["request_id"] == headers["request-id"]
    series = 'http_requests_total{method="POST",route="/api/v1/payments",status="4xx"} 1.0'
    assert series in (await api.client.get("/metrics")).text


async def test_a_stalled_callback_body_gets_408(api):
    _, port = api
    # Of the form of a former release's tokens: an invented one is answered before its body is read.
    line = b"PUT /api/v1/callbacks/mtn_momo/" + b"x" * 43 + b" HTTP/1.1\r\n"
    status, *_ = await told(port, line + HALF_A_BODY, b"{")
    assert status == 408


@pytest.mark.parametrize("key", [b"", b"Authorization: Bearer sk_test_nobody\r\n"])
async def test_a_request_without_an_api_key_is_refused_before_its_body(api, key):
    _, port = api
    head = b"POST /api/v1/payments HTTP/1.1\r\n" + key + HALF_A_BODY
    status, headers, *_ = await told(port, head)
    assert (status, headers["content-type"]) == (401, PROBLEM)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET",
        b"GET /health/live HTTP/1.1\r\nHost: api\r\nX-Slow: ",
        b"GET /health/live HTTP/1.1\r\nHost: api\r\n\r\nGET /health/live HTTP/1.1\r\n",
    ],
)
async def test_a_connection_with_an_unfinished_request_head_is_closed(api, beginning):
    _, port = api
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(beginning)
    async with asyncio.timeout(30):
        said = await reader.read()
    assert said.count(b"HTTP/1.1 200") == beginning.count(b"\r\n\r\n")
    writer.close()


async def test_a_connection_that_goes_on_sending_after_a_401_is_closed(api):
    _, port = api
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /api/v1/payments HTTP/1.1\r\nHost: api\r\n" + HALF_A_BODY + b"\r\n")
    async with asyncio.timeout(30):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
    writer.close()


async def test_invalid_http_is_answered_with_a_problem(api):
    _, port = api
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    async with asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert PROBLEM.encode() in head
    assert json.loads(body)["code"] == "malformed_request"
    writer.close()


async def test_a_connection_serves_several_requests(api):
    _, port = api
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: api\r\n\r\n")
        async with asyncio.timeout(30):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readexactly(len(b'{"status":"ok"}'))
        await asyncio.sleep(1.5 * WITHIN_S)
    writer.close()
