"""The connections of Transport, on real sockets and on both event loops that run it."""

import asyncio
import datetime
import gzip
import ipaddress
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rails.raw_server import answer, answering, raw_server
from synccash.engine.settings import EngineSettings
from synccash.rails.http import http_pool
from synccash.rails.http.http_connection import BODY_LIMIT
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault, _Sending
from synccash.rails.http.transport_fault import ExchangeError
from synccash.resilience.evidence import Evidence


async def get(transport, url, **headers):
    return await transport.request("GET", url, headers=headers, timeout_s=30.0, connect_timeout_s=30.0)


async def post(transport, url):
    return await transport.request(
        "POST", url, headers={}, timeout_s=30.0, connect_timeout_s=30.0, data=b"{}"
    )


def known(failure):
    assert isinstance(failure, TransportFailure), failure
    return failure.evidence, failure.fault


@pytest.fixture
def certified(tmp_path, monkeypatch):
    """A server's TLS context, whose certificate for `localhost` the clients of this test trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a rail")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context


async def test_requests_over_tls_share_a_connection(transport, certified):
    async with raw_server(answering(200, b"{}"), tls=certified) as server:
        for _ in range(2):
            assert (await get(transport, server.url)).status == 200
    assert (len(server.requests), server.connections) == (2, 1)


async def test_a_certificate_of_another_name_is_refused_before_anything_is_sent(transport, certified):
    async with raw_server(answering(200), tls=certified) as server:
        failure = await get(transport, server.url.replace("localhost", "127.0.0.1"))
    assert known(failure) == (Evidence.NOT_SENT, TransportFault.TLS)
    assert server.requests == []


async def test_a_certificate_of_an_unknown_issuer_is_refused(transport, certified, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    async with raw_server(answering(200), tls=certified) as server:
        failure = await get(transport, server.url)
    assert known(failure) == (Evidence.NOT_SENT, TransportFault.TLS)


async def test_bytes_behind_a_response_belong_to_no_response(transport):
    """Response splitting: what a server says unasked must not become part of any answer."""
    async with raw_server(answering(200, b"one", "X-A: 1")) as server:

        async def split(line):
            await line.say(answer(200, b"one", "X-A: 1") + answer(200, b"two", "X-B: 2"))

        server.speak = split
        first = await get(transport, server.url)
        server.speak = answering(200, b"three")
        second = await get(transport, server.url)
    assert (first.body, "x-a" in first.headers, "x-b" in first.headers) == (b"one", True, False)
    assert (second.body, server.connections) == (b"three", 2)


async def test_bytes_that_come_unasked_close_the_connection(transport):
    answered, closed = asyncio.Event(), asyncio.Event()

    async def speak(line):
        await line.say(answer(200, b"asked"))
        await answered.wait()
        await line.say(answer(200, b"unasked"))
        await line.reader.read()
        closed.set()

    async with raw_server(speak) as server, asyncio.timeout(30):
        assert (await get(transport, server.url)).body == b"asked"
        answered.set()
        await closed.wait()
        assert (await get(transport, server.url)).body == b"asked"
        assert server.connections == 2


async def test_an_interim_response_is_not_the_answer(transport):
    async def speak(line):
        await line.say("HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n")
        await line.say(answer(201, b"done"))

    async with raw_server(speak) as server:
        exchange = await get(transport, server.url)
    assert (exchange.status, exchange.body, "x-early" in exchange.headers) == (201, b"done", False)


async def test_a_response_without_length_ends_with_its_connection(transport):
    async def speak(line):
        await line.say("HTTP/1.1 200 OK\r\n\r\nall of it")
        line.writer.close()

    async with raw_server(speak) as server:
        assert (await get(transport, server.url)).body == b"all of it"


async def test_a_rail_that_wants_no_further_request_gets_none_on_the_connection(transport):
    async with raw_server(answering(200, b"", "Connection: close")) as server:
        for _ in range(2):
            assert (await get(transport, server.url)).status == 200
    assert server.connections == 2


async def test_reading_is_repeated_on_a_pooled_connection_that_died(transport):
    served = 0

    async def speak(line):
        nonlocal served
        served += 1
        if served == 2:
            line.cut()
        else:
            await line.say(answer(200, b"read"))

    async with raw_server(speak) as server:
        assert (await get(transport, server.url)).body == b"read"
        assert (await get(transport, server.url)).body == b"read"
    assert (len(server.requests), server.connections) == (3, 2)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
async def test_a_compressed_body_is_read(transport, coding):
    async with raw_server(answering(200, gzip.compress(b"body"), f"Content-Encoding: {coding}")) as server:
        assert (await get(transport, server.url)).body == b"body"
    assert b"Accept-Encoding: gzip, deflate" in server.requests[0]


@pytest.mark.parametrize(
    ("coding", "body"), [("br", b"x"), ("gzip", b"x"), ("gzip", gzip.compress(bytes(9_000), mtime=0)[:-9])]
)
async def test_a_body_that_cannot_be_decompressed_is_unreadable(transport, coding, body):
    async with raw_server(answering(200, body, f"Content-Encoding: {coding}")) as server:
        failure = await get(transport, server.url)
    assert known(failure) == (Evidence.AMBIGUOUS, TransportFault.UNREADABLE)


async def test_trailers_without_end_are_cut(transport):
    async def speak(line):
        await line.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        while True:
            await line.say("X-More: x\r\n" * (BODY_LIMIT // 100))

    async with raw_server(speak) as server, asyncio.timeout(30):
        assert known(await get(transport, server.url))[0] is Evidence.AMBIGUOUS


async def test_user_and_password_of_the_url_authorize_the_request(transport):
    async with raw_server(answering(200)) as server:
        await get(transport, server.url.replace("http://", "http://me:p%40ss@") + "/x#part")
        await get(transport, server.url.replace("http://", "http://me:p%40ss@"), Authorization="Bearer x")
    first, second = server.requests
    assert first.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in first
    assert second.count(b"Authorization") == 1
    assert b"me:p" not in first + second


async def test_a_target_is_sent_without_spaces_and_line_breaks(transport):
    async with raw_server(answering(200)) as server:
        assert isinstance(await get(transport, f"{server.url}/a b\r\nX: 1?c=d%20e"), Exchange)
    assert server.requests[0].startswith(b"GET /a%20b%0D%0AX:%201?c=d%20e HTTP/1.1\r\n")


@pytest.mark.parametrize("end", ["\r", "\n", "\0"])
async def test_a_header_with_a_line_break_is_an_error_of_the_caller(transport, end):
    with pytest.raises(ValueError, match="the header X-A"):
        await get(transport, "http://127.0.0.1:9/", **{"X-A": f"a{end}X-B: b"})


async def test_an_address_of_ip_version_6_is_an_origin():
    origin = http_pool.Origin.of(f"https://[{ipaddress.IPv6Address(1)}]:8443")
    assert (origin.host, origin.port, origin.host_header) == ("::1", 8443, "[::1]:8443")


async def test_a_request_beyond_the_limit_gets_the_next_connection_that_is_free(transport, monkeypatch):
    monkeypatch.setattr(http_pool, "_CONNECTIONS_PER_ORIGIN", 1)
    go_on = asyncio.Event()

    async def speak(line):
        await go_on.wait()
        await line.say(answer(200))

    async with raw_server(speak) as server:
        first = asyncio.create_task(get(transport, server.url))
        await server.heard.wait()
        others = [asyncio.create_task(get(transport, server.url)) for _ in range(3)]
        await asyncio.sleep(0)
        others.pop(0).cancel()
        go_on.set()
        assert [one.status for one in await asyncio.gather(first, *others)] == [200, 200, 200]
    assert (len(server.requests), server.connections) == (3, 1)


async def test_a_cancelled_request_closes_its_connection_and_frees_its_place(transport, monkeypatch):
    monkeypatch.setattr(http_pool, "_CONNECTIONS_PER_ORIGIN", 1)
    async with raw_server() as server:
        first = asyncio.create_task(get(transport, server.url))
        await server.heard.wait()
        server.speak = answering(200)
        second = asyncio.create_task(get(transport, server.url))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).status == 200
    assert server.connections == 2


async def test_a_request_that_waited_does_not_use_a_connection_that_the_rail_has_closed(
    transport, monkeypatch
):
    monkeypatch.setattr(http_pool, "_CONNECTIONS_PER_ORIGIN", 1)
    go_on = asyncio.Event()

    async def speak(line):
        await go_on.wait()
        await line.say(answer(200))
        line.writer.close()

    async with raw_server(speak) as server:
        first = asyncio.create_task(get(transport, server.url))
        await server.heard.wait()
        second = asyncio.create_task(post(transport, server.url))
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.set()
        assert [one.status for one in await asyncio.gather(first, second)] == [200, 200]
    assert (len(server.requests), server.connections) == (2, 2)


async def test_a_request_is_not_written_to_a_connection_that_is_closed(transport):
    async with raw_server(answering(200)) as server:
        pool, origin = transport._pool, http_pool.Origin.of(server.url)
        sending = _Sending("POST", asyncio.get_running_loop().time() + 1e9, 30.0)
        connection = await pool.connect(origin)
        connection.close()
        with pytest.raises(ExchangeError) as caught:
            await sending._exchange(pool, origin, connection, b"POST / HTTP/1.1\r\n\r\n")
        assert (caught.value.fault, sending.may_have_left) == (TransportFault.CONNECTION_LOST, False)


async def test_a_request_is_not_written_when_connecting_took_all_its_time(transport):
    async with raw_server(answering(200)) as server:
        pool, origin = transport._pool, http_pool.Origin.of(server.url)
        sending = _Sending("POST", -1.0, 30.0)
        connection = await pool.connect(origin)
        with pytest.raises(ExchangeError) as caught:
            await sending._exchange(pool, origin, connection, b"POST / HTTP/1.1\r\n\r\n")
        assert (caught.value.fault, sending.may_have_left) == (TransportFault.TIMEOUT, False)
        assert (await get(transport, server.url)).status == 200
    assert (len(server.requests), server.connections) == (1, 1)


async def test_an_idle_connection_is_kept_when_a_later_one_has_died(transport):
    both = asyncio.Event()

    async def speak(line):
        if len(server.requests) == 2:
            both.set()
        await both.wait()
        await line.say(answer(200))

    async with raw_server(speak) as server:
        await asyncio.gather(get(transport, server.url), get(transport, server.url))
        pool = transport._pool
        (place,) = pool._places.values()
        place.idle[-1][0].close()
        pool._close_idle()
        assert (await get(transport, server.url)).status == 200
    assert server.connections == 2


async def test_an_idle_connection_is_closed(transport, monkeypatch):
    monkeypatch.setattr(http_pool, "_KEEP_ALIVE_S", 0.01)
    closed = asyncio.Event()

    async def speak(line):
        await line.say(answer(200))
        await line.reader.read()
        closed.set()

    async with raw_server(speak) as server, asyncio.timeout(30):
        await get(transport, server.url)
        await closed.wait()


async def test_closing_ends_requests_under_way_and_those_that_wait(transport, monkeypatch):
    monkeypatch.setattr(http_pool, "_CONNECTIONS_PER_ORIGIN", 1)
    async with raw_server() as server:
        first = asyncio.create_task(get(transport, server.url))
        await server.heard.wait()
        second = asyncio.create_task(get(transport, server.url))
        await asyncio.sleep(0)
        await transport.aclose()
        assert known(await first) == (Evidence.AMBIGUOUS, TransportFault.CONNECTION_LOST)
        assert known(await second) == (Evidence.NOT_SENT, TransportFault.CLOSED)


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_request_that_connects_while_the_transport_closes_is_not_sent_afterwards(transport, turns):
    async with raw_server(answering(200)) as server:
        request = asyncio.create_task(post(transport, server.url.replace("localhost", "127.0.0.1")))
        for _ in range(turns):
            await asyncio.sleep(0)
        await transport.aclose()
        evidence, fault = known(await request)
        if evidence is Evidence.NOT_SENT:
            assert (fault, server.requests) == (TransportFault.CLOSED, [])


async def test_what_a_rail_has_not_received_when_its_time_is_over_never_arrives(transport):
    """Else a rail that hangs, or a network that comes back, takes a send that was given up long ago."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/send"
        failed = await transport.request("POST", url, headers={}, timeout_s=0.3, data=b"x" * 200_000)
        assert (failed.evidence, failed.fault) == (Evidence.AMBIGUOUS, TransportFault.TIMEOUT)
        hanging, _ = listening.accept()
        with hanging:
            hanging.settimeout(30)
            # In a thread: the loop closes the connection.
            assert await asyncio.to_thread(how_it_ends, hanging) == "reset"


def how_it_ends(connection):
    """Read until the other side has ended the connection: in order, or by a reset."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        return "reset"
    return "in order"


async def test_the_kernel_gives_up_what_is_not_acknowledged_before_a_not_found_is_trusted(transport):
    async with raw_server(answering(200)) as server:
        connection = await transport._pool.connect(http_pool.Origin.of(server.url))
        connected = connection._transport.get_extra_info("socket")
        given_up_ms = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        connection.close()
    assert 0 < given_up_ms / 1_000 < EngineSettings(public_url="http://localhost").settle_s
