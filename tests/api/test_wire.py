"""Raw HTTP over real sockets: forged addresses, and the maximum size of heads and trailers."""

import asyncio
import contextlib
import json
import re
import uuid

import pytest

from api.listening import listening
from api.served import PROBLEM, payment, served

HELLO = b"GET /health/live HTTP/1.1\r\nHost: api\r\n"


@pytest.fixture
async def api(database_url):
    async with served(database_url, rate_limits="health_check=3/3600") as api, listening(api.app) as port:
        yield api, port


async def told(port, request):
    """Send a request, and read until its answer is there or the other side hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
    writer.close()
    return int(head.split()[1]), head, body


async def test_a_forged_client_address_changes_no_limit(api):
    _, port = api
    lies = [HELLO + b"X-Forwarded-For: 198.51.100.%d\r\n\r\n" % number for number in range(4)]
    assert [(await told(port, lie))[0] for lie in lies] == [200, 200, 200, 429]


@pytest.mark.parametrize(
    "head",
    [
        HELLO + b"X-Much: " + b"a" * 70_000,
        HELLO + b"X-Much: " + b"a" * 70_000 + b"\r\n\r\n",
        HELLO + b"X: y\r\n" * 60_000,
    ],
    ids=["endless", "whole", "many"],
)
async def test_the_head_of_a_request_has_a_maximum_size(api, head):
    _, port = api
    status, answer, problem = await told(port, head)
    assert (status, problem["code"]) == (431, "headers_too_large")
    assert PROBLEM.encode() in answer


async def test_a_trailer_field_is_not_read_as_a_header(api):
    api, port = api
    body = json.dumps(payment()).encode()
    key, other = uuid.uuid4().hex.encode(), uuid.uuid4().hex.encode()
    head = b"POST /api/v1/payments HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
    head += b"Authorization: Bearer %s\r\nIdempotency-Key: %s\r\n" % (api.key.encode(), key)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(body), body)
    status, _, first = await told(port, head + chunked + b"Idempotency-Key: %s\r\n\r\n" % other)
    assert status == 202
    plain = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    status, answer, again = await told(port, plain)
    assert (status, again) == (202, first)
    assert b"idempotent-replayed: true" in answer.lower()


async def test_a_connection_with_an_endless_trailer_is_closed(api):
    api, port = api
    head = b"POST /api/v1/payments HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer " + api.key.encode()
    head += b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Much: "
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"a" * 65_536)
                await writer.drain()
                await asyncio.sleep(0)
            assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health/live HTTP/1.1\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: api\r\nHost: api\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: api\r\nHost: other\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: api/../x\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: user@api\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", 200),
        (b"GET /health/live HTTP/1.1\r\nhost: api.example:443\r\n\r\n", 200),
        (b"GET /health/live HTTP/1.1\r\nHost:\r\n\r\n", 200),
        (b"GET /health/live HTTP/1.0\r\n\r\n", 200),
    ],
    ids=["missing", "twice", "two", "path", "user", "ipv6", "port", "empty", "http 1.0"],
)
async def test_a_request_has_exactly_one_host(database_url, head, status):
    async with served(database_url) as api, listening(api.app) as port:
        answered, _, body = await told(port, head)
        assert answered == status
        if status == 400:
            assert body["code"] == "malformed_request"
            assert "Host" in body["detail"]


POST = b"POST /api/v1/payments HTTP/1.1\r\nHost: api\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: api\r\n\r\n"
SHAPES = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "one length twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 0, 0\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x0\r\n\r\n",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length of 20 digits": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a space behind a name": POST + b"Content-Length : 0\r\n\r\n",
    "chunked and a length": POST + CHUNKED + b"Content-Length: 5\r\n\r\n" + END,
    "a length and chunked": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n" + END,
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + END,
    "a coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
    "identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    "a coding behind chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END,
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n" + END,
    "chunked behind a tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END,
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + END,
    "chunked in HTTP/1.0": POST.replace(b"/1.1", b"/1.0") + CHUNKED + b"\r\n" + END,
    "a chunk size with 0x": POST + CHUNKED + b"\r\n0x0\r\n\r\n",
    "a chunk longer than its size": POST + CHUNKED + b"\r\n1\r\nhello\r\n" + END,
    "a chunk without its end": POST + CHUNKED + b"\r\n1\r\nh" + END,
    "a chunk size before a line feed": POST + CHUNKED + b"\r\n1\nh\r\n" + END,
    "a line feed in the head": POST + b"X: y\nContent-Length: 0\r\n\r\n",
    "a carriage return in the head": POST + b"X: y\rContent-Length: 0\r\n\r\n",
    "a body of an upgrade": POST + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED),
    "chunks of an upgrade": POST + UPGRADE + CHUNKED + b"\r\n%x\r\n" % len(SMUGGLED),
}


async def answers_until_closed(port, shape, then):
    """Send the second part when the answer to the first one has begun; give the status of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        writer.write(shape)
        found = await reader.read(9)
        with contextlib.suppress(ConnectionError):
            writer.write(then)
            while part := await reader.read(65_536):
                found += part
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", found)]


async def test_no_part_of_an_ambiguous_request_is_read_as_another_one(database_url):
    last = SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with served(database_url) as api, listening(api.app) as port:
        found = {name: await answers_until_closed(port, shape, last) for name, shape in SHAPES.items()}
        assert found == {name: [400] for name in SHAPES}


async def test_a_request_to_upgrade_without_a_body_is_served_and_ends_the_connection(database_url):
    async with served(database_url) as api, listening(api.app) as port:
        for end in (b"\r\n", b"Content-Length: 0\r\n\r\n"):
            status, head, _ = await told(port, HELLO + UPGRADE + end)
            assert status == 200
            assert b"connection: close" in head.lower()
