"""What is known when an exchange with a rail ends badly, on real sockets."""

import asyncio
import gzip
import socket

import pytest

from rails.raw_server import answer, answering, raw_server
from synccash.rails.http.transport import BODY_LIMIT, Exchange, Transport, TransportFailure, TransportFault
from synccash.resilience.evidence import Evidence

SECRET = "s3cret-of-the-merchant"
NUMBER = "233241234567"


async def post(transport, url, *, timeout_s=30.0, connect_timeout_s=30.0, **kwargs):
    kwargs = {"json": {"amount": "25.00"}} | kwargs
    return await transport.request(
        "POST",
        url,
        headers={"Authorization": SECRET},
        timeout_s=timeout_s,
        connect_timeout_s=connect_timeout_s,
        **kwargs,
    )


def known(failure):
    assert isinstance(failure, TransportFailure), failure
    return failure.evidence, failure.fault


async def test_an_answer_comes_back_whole(transport):
    async with raw_server(answering(202, b'{"status":"ok"}', "X-Trace: 7")) as server:
        exchange = await post(transport, f"{server.url}/money?a=b")
    assert (exchange.status, exchange.json_object()) == (202, {"status": "ok"})
    assert exchange.headers["x-trace"] == "7"
    assert exchange.latency_s >= 0
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /money?a=b HTTP/1.1")
    assert b"Content-Type: application/json" in head
    assert b"User-Agent: synccash" in head
    assert body == b'{"amount":"25.00"}'


async def test_an_empty_post_has_a_length_and_no_content_type(transport):
    async with raw_server(answering(200, b"{}")) as server:
        await post(transport, server.url, json=None)
    head = server.requests[0].lower()
    assert b"content-length: 0" in head
    assert b"content-type" not in head


async def test_bytes_go_out_as_they_are(transport):
    async with raw_server(answering(200)) as server:
        await post(transport, server.url, json=None, data=b'{"Amount":0.10}')
    assert server.requests[0].endswith(b'{"Amount":0.10}')


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b"\xff\xfe", b"<html>", b"[" * 20_000])
async def test_a_body_that_is_no_json_object_is_nothing_to_go_by(body):
    assert Exchange(status=200, headers={}, body=body, latency_s=0.0).json_object() is None


async def test_a_refused_connection_was_not_sent(transport):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await post(transport, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert known(failure) == (Evidence.NOT_SENT, TransportFault.UNREACHABLE)


async def test_an_unknown_name_was_not_sent(transport):
    failure = await post(transport, "http://rail.invalid/")
    assert known(failure)[0] is Evidence.NOT_SENT


@pytest.mark.parametrize("url", ["", "no-url", "http://", "ftp://localhost/", "http://localhost:99999/"])
async def test_an_address_that_is_none_was_not_sent(transport, url):
    assert known(await post(transport, url)) == (Evidence.NOT_SENT, TransportFault.BAD_URL)


async def test_a_connection_that_is_never_taken_was_not_sent(transport):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        with socket.socket() as first, socket.socket() as second:
            # A full queue of connections that nobody takes: the next one waits for ever.
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(deaf.getsockname())
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
            failure = await post(transport, url, connect_timeout_s=0.1)
            assert known(failure) == (Evidence.NOT_SENT, TransportFault.CONNECT_TIMEOUT)
            failure = await post(transport, url, timeout_s=0.1)
            assert known(failure)[0] is Evidence.NOT_SENT


async def test_no_time_left_was_not_sent(transport):
    async with raw_server(answering(202)) as server:
        failure = await post(transport, server.url, timeout_s=0.0)
        assert known(failure) == (Evidence.NOT_SENT, TransportFault.TIMEOUT)
        assert server.requests == []


async def test_a_failed_handshake_was_not_sent(transport):
    async def speak_no_tls(_reader, writer):
        writer.write(answer(400))
        writer.close()

    async with await asyncio.start_server(speak_no_tls, "127.0.0.1", 0) as plain:
        failure = await post(transport, f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/")
    assert known(failure) == (Evidence.NOT_SENT, TransportFault.TLS)


async def test_a_full_pool_was_not_sent(transport):
    async with raw_server() as server:
        waiting = [asyncio.create_task(post(transport, server.url)) for _ in range(100)]
        while len(server.requests) < 100:
            server.heard.clear()
            await server.heard.wait()
        failure = await post(transport, server.url, connect_timeout_s=0.05)
        assert known(failure) == (Evidence.NOT_SENT, TransportFault.CONNECT_TIMEOUT)
        assert len(server.requests) == 100
        async with raw_server(answering(202)) as other:
            assert (await post(transport, other.url)).status == 202
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "begin", ["", "HTTP/1.1 202", "HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\n{"]
)
async def test_silence_after_sending_is_ambiguous(transport, begin):
    silent = False

    async def speak(line):
        if not silent:
            await line.say(answer(202))
            return
        await line.say(begin)
        await line.reader.read()

    async with raw_server(speak) as server:
        # The connection exists before the short time-out begins: on a busy machine it could expire first.
        await post(transport, server.url)
        silent = True
        failure = await post(transport, server.url, timeout_s=0.2)
        assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.TIMEOUT)
        assert (len(server.requests), server.connections) == (2, 1)


async def test_a_body_that_breaks_off_is_ambiguous(transport):
    async def speak(line):
        await line.say("HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\n{")
        line.cut()

    async with raw_server(speak) as server:
        failure = await post(transport, server.url)
    assert known(failure)[0] is Evidence.AMBIGUOUS


async def test_a_connection_cut_after_the_request_is_ambiguous(transport):
    async def speak(line):
        line.cut()

    async with raw_server(speak) as server:
        failure = await post(transport, server.url)
        assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.CONNECTION_LOST)
        assert len(server.requests) == 1


async def test_what_is_not_http_is_ambiguous(transport):
    async def speak(line):
        await line.say("SSH-2.0-OpenSSH\r\n\r\n")

    async with raw_server(speak) as server:
        failure = await post(transport, server.url)
    assert known(failure)[0] is Evidence.AMBIGUOUS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_ambiguous_and_not_followed(transport, status):
    async with raw_server(answering(202)) as elsewhere:
        async with raw_server(answering(status, b"", f"Location: {elsewhere.url}/")) as server:
            failure = await post(transport, server.url)
        assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.REDIRECTED)
        assert elsewhere.requests == []


ENDLESS = {
    "body": (
        f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 40}\r\n\r\n",
        b"x" * 65_536,
        TransportFault.TOO_LARGE,
    ),
    "chunks": (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + b"x" * 65_536 + b"\r\n",
        TransportFault.TOO_LARGE,
    ),
    "body without length": ("HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536, TransportFault.TOO_LARGE),
    "status line": ("HTTP/1.1 200 ", b"x" * 65_536, TransportFault.UNREADABLE),
    "header": ("HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 65_536, TransportFault.UNREADABLE),
    "headers": ("HTTP/1.1 200 OK\r\n", b"X-More: x\r\n" * 5_000, TransportFault.UNREADABLE),
}


@pytest.mark.parametrize("part", ENDLESS)
async def test_an_answer_whose_part_never_ends_is_cut_and_ambiguous(transport, part):
    begin, more, fault = ENDLESS[part]
    cut = asyncio.Event()

    async def speak(line):
        try:
            await line.say(begin)
            while True:
                await line.say(more)
        except ConnectionError:
            cut.set()
            raise

    async with raw_server(speak) as server, asyncio.timeout(30):
        failure = await post(transport, server.url, timeout_s=60.0)
        assert known(failure) == (Evidence.AMBIGUOUS, fault)
        await cut.wait()


async def test_an_answer_of_many_small_parts_is_cut_at_the_time_out(transport):
    """Each byte comes quickly: a time-out for single reads would never end."""
    dripping = False

    async def speak(line):
        if not dripping:
            await line.say(answer(202))
            return
        await line.say("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await line.say(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async with raw_server(speak) as server, asyncio.timeout(30):
        await post(transport, server.url)
        dripping = True
        assert known(await post(transport, server.url, timeout_s=0.2)) == (
            Evidence.AMBIGUOUS,
            TransportFault.TIMEOUT,
        )


async def test_a_compressed_answer_counts_with_its_decompressed_size(transport):
    small = gzip.compress(bytes(100 * BODY_LIMIT))
    assert len(small) < BODY_LIMIT
    async with raw_server(answering(200, small, "Content-Encoding: gzip")) as server:
        failure = await post(transport, server.url)
    assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.TOO_LARGE)


async def test_an_answer_one_byte_above_the_limit_is_too_large(transport):
    async with raw_server(answering(200, b"x" * (BODY_LIMIT + 1))) as server:
        failure = await post(transport, server.url)
    assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.TOO_LARGE)


async def test_an_answer_of_the_limit_is_read(transport):
    async with raw_server(answering(200, b"x" * BODY_LIMIT)) as server:
        assert len((await post(transport, server.url)).body) == BODY_LIMIT


async def test_a_post_on_a_pooled_connection_that_died_is_sent_once_and_ambiguous(transport):
    served = 0

    async def speak(line):
        nonlocal served
        served += 1
        if served == 1:
            await line.say(answer(202))
        else:
            line.cut()

    async with raw_server(speak) as server:
        assert (await post(transport, server.url)).status == 202
        failure = await post(transport, server.url)
        assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.CONNECTION_LOST)
        assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_no_method_but_reading_is_ever_repeated_by_the_library(transport, method):
    async def speak(line):
        line.cut()

    async with raw_server(speak) as server:
        failure = await transport.request(method, server.url, headers={}, timeout_s=5.0)
        assert known(failure)[0] is Evidence.AMBIGUOUS
        assert len(server.requests) == 1


async def test_a_pooled_connection_that_the_rail_closed_while_idle_is_not_used_again(transport):
    gone = asyncio.Queue()

    async def speak(line):
        await line.say(answer(202))
        line.writer.write_eof()
        gone.put_nowait(await line.reader.read())

    async with raw_server(speak) as server:
        for _ in range(5):
            assert (await post(transport, server.url)).status == 202
            assert await gone.get() == b""
        assert (len(server.requests), server.connections) == (5, 5)


async def test_proxies_of_the_environment_are_not_used(transport, monkeypatch):
    async with raw_server(answering(418)) as proxy, raw_server(answering(202)) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert (await post(transport, server.url)).status == 202


async def test_cookies_are_not_kept(transport):
    async with raw_server(answering(202, b"", "Set-Cookie: session=1; Path=/")) as server:
        await post(transport, server.url)
        await post(transport, server.url)
    assert b"cookie" not in server.requests[1].lower()


async def test_a_closed_transport_sends_nothing():
    transport = Transport()
    async with raw_server(answering(202)) as server:
        await post(transport, server.url)
        await transport.aclose()
        failure = await post(transport, server.url)
    assert known(failure) == (Evidence.NOT_SENT, TransportFault.CLOSED)
    assert len(server.requests) == 1


async def test_a_transport_that_was_never_used_closes():
    await Transport().aclose()


async def test_nothing_that_is_printed_holds_a_secret_or_a_number(transport):
    async with raw_server(answering(200, NUMBER.encode(), f"X-Echo: {SECRET}")) as server:
        exchange = await post(transport, f"{server.url}/{NUMBER}")
    failure = await post(transport, f"{server.url}/{NUMBER}")
    for shown in (repr(exchange), str(exchange), repr(failure), repr(transport)):
        assert SECRET not in shown
        assert NUMBER not in shown
