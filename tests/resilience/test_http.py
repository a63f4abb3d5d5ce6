"""HttpClassifier with the responses and exceptions of real clients: httpx, aiohttp, requests and urllib."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from rails.raw_server import RawServer, answer, answering, raw_server
from synccash.resilience.circuit_breaker import BreakerSettings
from synccash.resilience.deadline import deadline
from synccash.resilience.errors import AttemptTimeoutError
from synccash.resilience.evidence import Evidence
from synccash.resilience.http import HttpClassifier
from synccash.resilience.policy import Policy
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Outcome, Verdict

READ_TIMEOUT_S = 0.05
NOT_SENT = Verdict(Outcome.FAILED, retry=True, evidence=Evidence.NOT_SENT)
UNKNOWN = Verdict(Outcome.FAILED, retry=True, evidence=Evidence.AMBIGUOUS)
REPEATABLE = Verdict(Outcome.FAILED, retry=True)
NOT_TRUSTED = Verdict(Outcome.FAILED, evidence=Evidence.NOT_SENT)
OWN_ERROR = Verdict(Outcome.IGNORED, evidence=Evidence.AMBIGUOUS)


class Httpx:
    """Calls that end as `raise_for_status` leaves them: the response or the exception."""

    names_method = True

    async def call(self, method: str, url: str, timeout_s: float = 30.0, *, raises: bool = True) -> Any:
        timeout = httpx.Timeout(30.0, read=timeout_s)
        async with httpx.AsyncClient(timeout=timeout, follow_redirects=True, trust_env=False) as client:
            return await outcome_of(self._call(client, method, url, raises))

    async def _call(self, client: httpx.AsyncClient, method: str, url: str, raises: bool) -> httpx.Response:
        response = await client.request(method, url)
        return response.raise_for_status() if raises else response


class Aiohttp:
    names_method = False

    async def call(self, method: str, url: str, timeout_s: float = 30.0, *, raises: bool = True) -> Any:
        timeout = aiohttp.ClientTimeout(total=30.0, sock_read=timeout_s)
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=raises) as session:
            return await outcome_of(self._call(session, method, url))

    async def _call(self, session: aiohttp.ClientSession, method: str, url: str) -> aiohttp.ClientResponse:
        async with session.request(method, url) as response:
            await response.read()
            return response


class Requests:
    names_method = True

    async def call(self, method: str, url: str, timeout_s: float = 30.0, *, raises: bool = True) -> Any:
        return await outcome_of(asyncio.to_thread(self._call, method, url, timeout_s, raises))

    def _call(self, method: str, url: str, timeout_s: float, raises: bool) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            response = session.request(method, url, timeout=(30.0, timeout_s))
        if raises:
            response.raise_for_status()
        return response


class Urllib:
    names_method = False

    async def call(self, method: str, url: str, timeout_s: float = 30.0, *, raises: bool = True) -> Any:
        del raises  # it always does
        return await outcome_of(asyncio.to_thread(self._call, method, url, timeout_s))

    def _call(self, method: str, url: str, timeout_s: float) -> object:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, method=method), timeout=timeout_s) as response:
                response.read()
                return response
        except urllib.error.HTTPError as error:
            error.close()  # it holds the socket of its answer
            raise


async def outcome_of(call: Any) -> Any:
    try:
        return await call
    except Exception as error:
        return error


Client = Httpx | Aiohttp | Requests | Urllib


@pytest.fixture(params=[Httpx, Aiohttp, Requests, Urllib])
def client(request: pytest.FixtureRequest) -> Client:
    return request.param()


@pytest.fixture
def closed_port() -> Iterator[int]:
    # Bound and not listening: nobody else gets the port while the test runs.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.asynccontextmanager
async def cutting() -> AsyncIterator[RawServer]:
    async def cut(line: Any) -> None:
        line.cut()

    async with raw_server(cut) as server:
        yield server


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, (), Verdict(Outcome.OK)),
        (404, (), Verdict(Outcome.OK, evidence=Evidence.REFUSED_FINAL)),
        (501, (), Verdict(Outcome.OK, evidence=Evidence.REFUSED_FINAL)),
        (408, (), UNKNOWN),
        (425, (), Verdict(Outcome.OK, retry=True, evidence=Evidence.REFUSED_LATER)),
        (429, ("Retry-After: 7",), Verdict(Outcome.FAILED, True, 7.0, Evidence.REFUSED_LATER)),
        (503, ("Retry-After: 1.5",), Verdict(Outcome.FAILED, True, 1.5, Evidence.AMBIGUOUS)),
        (500, (), UNKNOWN),
        (507, (), Verdict(Outcome.FAILED, evidence=Evidence.AMBIGUOUS)),
        (404, ("Retry-After: 7",), Verdict(Outcome.OK, evidence=Evidence.REFUSED_FINAL)),
    ],
)
async def test_a_status_has_one_verdict_with_all_clients(client, status, headers, expected, raises):
    async with raw_server(answering(status, b"{}", *headers)) as server:
        assert HttpClassifier()(await client.call("POST", server.url, raises=raises)) == expected


async def test_after_a_server_error_an_idempotent_method_may_be_repeated(client):
    async with raw_server(answering(502)) as server:
        expected = UNKNOWN if isinstance(client, Urllib) else REPEATABLE  # it does not name the method
        assert HttpClassifier()(await client.call("PUT", server.url)) == expected
        assert HttpClassifier(method="PUT")(await client.call("PUT", server.url)) == REPEATABLE
        assert HttpClassifier()(await client.call("PATCH", server.url)) == UNKNOWN


@pytest.mark.parametrize(
    ("date", "until", "seconds"),
    [
        ("Date: Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2026 10:00:30 GMT", 30.0),
        ("Date: Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2026 09:00:00 GMT", 0.0),
        ("X-Other: 1", "Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("X-Other: 1", "Thursday, 01-Jan-70 00:16:50 GMT", 10.0),
        ("X-Other: 1", "soon", None),
        ("X-Other: 1", "-5", None),
        ("X-Other: 1", "inf", None),
        ("X-Other: 1", "9" * 400, None),
        ("X-Other: 1", "Fri, 99 Nov 99999 10:00:30 GMT", None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(client, date, until, seconds):
    classify = HttpClassifier(now=lambda: 1000.0)
    async with raw_server(answering(503, b"", date, f"Retry-After: {until}")) as server:
        assert classify(await client.call("GET", server.url)).retry_after == seconds


async def test_a_refused_connection_was_not_sent(client, closed_port):
    assert HttpClassifier()(await client.call("POST", f"http://127.0.0.1:{closed_port}")) == NOT_SENT


async def test_an_unknown_host_was_not_sent(client):
    assert HttpClassifier()(await client.call("POST", "http://no-such-host.invalid")) == NOT_SENT


async def test_a_server_without_tls_was_sent_nothing(client):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 No TLS here\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        verdict = HttpClassifier()(await client.call("GET", f"https://127.0.0.1:{port}"))
    assert (verdict.outcome, verdict.retry) == (Outcome.FAILED, True)


async def test_a_response_that_never_comes_is_ambiguous(client):
    async with raw_server() as server:
        error = await client.call("POST", server.url, READ_TIMEOUT_S)
    assert HttpClassifier()(error) == UNKNOWN
    assert HttpClassifier(method="GET")(error) == REPEATABLE


async def test_a_broken_connection_is_ambiguous(client):
    async with cutting() as server:
        posted, got = [await client.call(method, server.url) for method in ("POST", "GET")]
    assert HttpClassifier()(posted) == UNKNOWN
    assert HttpClassifier()(got) == (REPEATABLE if client.names_method else UNKNOWN)
    assert HttpClassifier(method="get")(got) == REPEATABLE


@pytest.mark.parametrize("classify", [None, HttpClassifier()], ids=["no classifier", "classifier"])
async def test_a_caller_without_patience_does_not_open_the_breaker(client, classify):
    """The client's time-out was what the caller's deadline left, far less than the server is given."""
    policy = Policy("rates", breaker=BreakerSettings(failures=1, slow_s=10.0), classify=classify)

    async def call(url: str, timeout_s: float) -> Any:
        outcome = await client.call("GET", url, timeout_s)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with raw_server(answering(200)) as server, raw_server() as mute:
        with deadline(5.0):
            assert isinstance(await outcome_of(policy.call(call, mute.url, READ_TIMEOUT_S)), Exception)
        assert policy.breaker is not None
        assert (policy.breaker.state.value, policy.breaker.statistics().ignored) == ("closed", 1)
        assert (await policy.call(call, server.url, 30.0)) is not None
        assert isinstance(await outcome_of(policy.call(call, mute.url, READ_TIMEOUT_S)), Exception)
        assert policy.breaker.state.value == "open", "a time-out of its own counts"


async def test_a_malformed_response_is_ambiguous(client):
    async def speak(line: Any) -> None:
        await line.say("HTTP/1.1 what\r\n\r\n")
        line.cut()

    async with raw_server(speak) as server:
        verdict = HttpClassifier()(await client.call("POST", server.url))
    assert (verdict.outcome, verdict.evidence) == (Outcome.FAILED, Evidence.AMBIGUOUS)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (answer(404), "closed"),
        (answer(425), "closed"),
        (answer(429), "open"),
        (answer(503), "open"),
        (b"HTTP/1.1 what\r\n\r\n", "open"),
    ],
    ids=["404", "425", "429", "503", "malformed"],
)
async def test_without_a_classifier_a_breaker_reads_the_exceptions_of_clients_alike(client, said, state):
    async def speak(line: Any) -> None:
        await line.say(said)

    async def call(url: str) -> Any:
        outcome = await client.call("POST", url)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    policy = Policy("rates", breaker=BreakerSettings(failures=1))
    async with raw_server(speak) as server:
        assert isinstance(await outcome_of(policy.call(call, server.url)), Exception)
    assert policy.breaker is not None
    assert policy.breaker.state.value == state


async def test_a_request_that_was_redirected_has_been_sent(client, closed_port):
    location = f"Location: http://127.0.0.1:{closed_port}/"
    async with raw_server(answering(303, b"", location)) as server:
        error = await client.call("POST", server.url)
        assert len(server.requests) == 1
    assert HttpClassifier()(error) == UNKNOWN
    assert HttpClassifier(method="POST")(error) == UNKNOWN
    assert HttpClassifier(method="GET")(error) == NOT_SENT


async def test_the_method_of_a_redirected_call_is_that_of_the_first_request(client):
    async def speak(line: Any) -> None:
        if line.request.startswith(b"POST"):
            await line.say(answer(303, b"", "Location: /seen"))
        else:
            await line.say(answer(502))

    async with raw_server(speak) as server:
        response = await client.call("POST", server.url, raises=False)
        assert len(server.requests) == 2
        assert HttpClassifier()(response) == UNKNOWN
        error = await client.call("POST", server.url)
    if client.names_method:
        assert HttpClassifier()(error) == UNKNOWN


@pytest.mark.parametrize("url", ["", "nothing", "gopher://example.invalid", "http://"])
async def test_a_wrong_url_is_the_callers_error(client, url):
    verdict = HttpClassifier()(await client.call("GET", url))
    assert (verdict.outcome, verdict.retry) == (Outcome.IGNORED, False)


async def test_a_redirect_loop_is_the_callers_error(client):
    async with raw_server(answering(302, b"", "Location: /")) as server:
        assert HttpClassifier()(await client.call("POST", server.url)) == OWN_ERROR


async def test_a_full_pool_of_the_client_says_nothing_about_the_server():
    limits, timeout = httpx.Limits(max_connections=1), httpx.Timeout(30.0, pool=READ_TIMEOUT_S)
    async with raw_server() as server, httpx.AsyncClient(limits=limits, timeout=timeout) as client:
        first = asyncio.create_task(client.post(server.url))
        await server.heard.wait()
        error = await outcome_of(client.post(server.url))
        first.cancel()
        await asyncio.wait([first])
    assert HttpClassifier()(error) == Verdict(Outcome.IGNORED, retry=True, evidence=Evidence.NOT_SENT)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(), NOT_SENT),
        (socket.gaierror(), NOT_SENT),
        (ConnectionResetError(), UNKNOWN),
        (TimeoutError(), UNKNOWN),
        (AttemptTimeoutError("rates", 1.0), UNKNOWN),
        (OSError(113, "no route to host"), UNKNOWN),
        (ssl.SSLError(), UNKNOWN),
        (ssl.SSLCertVerificationError(), NOT_TRUSTED),
        (FileNotFoundError(), OWN_ERROR),
        (KeyError("amount"), OWN_ERROR),
        (RuntimeError("httpx.ConnectError"), OWN_ERROR),
    ],
)
def test_exceptions_of_the_standard_library(error, expected):
    assert HttpClassifier()(error) == expected


@pytest.mark.parametrize("error_class", ["ConnectTimeout", "ConnectionError"])
def test_a_slow_connection_through_requests_was_not_sent(error_class):
    import urllib3

    pool = urllib3.HTTPConnectionPool("localhost")
    cause = urllib3.exceptions.MaxRetryError(
        pool, "/", urllib3.exceptions.ConnectTimeoutError("localhost", "timed out")
    )
    assert HttpClassifier()(getattr(requests, error_class)(cause)) == NOT_SENT


async def fails_over_tls(certificate_error: Exception) -> None:
    try:
        raise certificate_error
    except ssl.SSLError as cause:
        raise httpx.ConnectError("TLS failed") from cause


async def test_a_certificate_that_is_not_trusted_is_not_retried():
    error = await outcome_of(fails_over_tls(ssl.SSLCertVerificationError("self-signed certificate")))
    assert HttpClassifier()(error) == NOT_TRUSTED


@pytest.mark.parametrize("value", [None, "text", {"status": 500}, SimpleNamespace(status="failed"), 503])
def test_what_is_no_response_is_a_success(value):
    assert HttpClassifier()(value) == Verdict(Outcome.OK)


def test_a_circle_of_causes_ends():
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert HttpClassifier()(one) == OWN_ERROR


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: HttpClassifier(idempotent_methods="GET"), "idempotent_methods must be a set"),
        (lambda: HttpClassifier(idempotent_methods=frozenset({"get"})), "in capitals, not get"),
        (lambda: HttpClassifier(retry_statuses=frozenset({200})), "from 400 to 599"),
    ],
)
def test_wrong_settings_are_refused(build: Callable[[], object], said):
    with pytest.raises((TypeError, ValueError), match=said):
        build()


async def test_ten_lines_with_a_client_retry_what_is_safe_and_open_the_breaker_for_failures_alone():
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    policy = Policy(
        "rates",
        retry=Retry(attempts=3, base=0.5, jitter="none"),
        breaker=BreakerSettings(),
        classify=HttpClassifier(),
        sleep=sleep,
    )
    async with raw_server(answering(503, b"", "Retry-After: 4")) as server, httpx.AsyncClient() as client:
        got = await policy.call(client.get, server.url)
        assert (got.status_code, len(server.requests), waits) == (503, 3, [4.0, 4.0])
        posted = await policy.call(client.post, server.url)
        assert (posted.status_code, len(server.requests)) == (503, 4)


def test_no_client_is_imported():
    code = (
        "import sys, synccash.resilience.http\n"
        "print(sorted({'httpx', 'aiohttp', 'requests', 'urllib3'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
