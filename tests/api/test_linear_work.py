"""The work for a request grows at most in proportion to its size: a fuzz that counts operations.

Counts are executed lines and calls, also of C functions, in the tasks of one request. They do not depend on
the machine. A loop inside a C function counts as one call: this finds loops of our own and of the framework,
not a regular expression that backtracks.
"""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from api.served import Served, payment

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNTED: ContextVar["Operations | None"] = ContextVar("counted", default=None)
RATIO_MAX = 2.3
"""Of the operations for an input to those for half of it. 2 is linear."""
FIXED = 6_000
"""Operations of any request that may vary with caches and timers, not with the input: a callback that is
paced costs 700, one whose token is looked up 4,900."""
SIZE = 16_000


@dataclass
class Operations:
    """Live: what the request's tasks have executed."""

    number: int = 0


def _trace(_frame: Any, _event: str, _argument: Any) -> Any:
    counted = COUNTED.get()
    if counted is None:
        return None
    counted.number += 1
    return _trace


def _profile(_frame: Any, event: str, _argument: Any) -> None:
    counted = COUNTED.get()
    if counted is not None and event == "c_call":
        counted.number += 1


@contextmanager
def counting() -> Iterator[Operations]:
    """Count what this task does, and the tasks that it starts."""
    operations = Operations()
    token = COUNTED.set(operations)
    former = sys.gettrace()
    sys.settrace(_trace)
    sys.setprofile(_profile)
    try:
        yield operations
    finally:
        sys.setprofile(None)
        sys.settrace(former)
        COUNTED.reset(token)


@dataclass
class Request:
    """An HTTP request as a server passes it on."""

    method: str = "POST"
    path: str = "/api/v1/payments"
    query: bytes = b""
    body: bytes = b"{}"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])


async def status_of(app: Any, request: Request, key: str) -> int:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.query,
        "client": ("192.0.2.1", 1),
        "server": ("api", 80),
        "state": {},
        "headers": [
            (b"host", b"api"),
            (b"authorization", f"Bearer {key}".encode()),
            (b"content-type", b"application/json"),
            (b"idempotency-key", uuid.uuid4().hex.encode()),
            *request.headers,
        ],
    }
    statuses = []
    pending = [request.body]

    async def receive() -> dict[str, Any]:
        if not pending:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": pending.pop(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


async def operations_of(api: Served, request: Request) -> int:
    """The smallest count of three, because caches fill and background work differs."""
    counts = []
    for _ in range(3):
        with counting() as operations:
            status = await status_of(api.app, request, api.key)
        assert status < 500, (status, request.method, request.path)
        counts.append(operations.number)
    return min(counts)


def names(n: int) -> list[str]:
    return [f"n{index:05}" for index in range(n // 16)]


def in_payment(**more: Any) -> bytes:
    return json.dumps(payment(reference="r", **more)).encode()


Make = Callable[[int], Request]
BODIES: dict[str, Callable[[int], bytes]] = {
    "unknown members": lambda n: b"{" + b",".join(b'"%s":1' % m.encode() for m in names(n)) + b"}",
    "a member twice": lambda n: b"{" + b",".join(b'"%s":1' % m.encode() for m in names(n)) + b',"n00000":1}',
    "metadata": lambda n: in_payment(metadata=dict.fromkeys(names(n), "v")),
    "invalid metadata": lambda n: in_payment(metadata=dict.fromkeys(names(n), 1)),
    "nested arrays": lambda n: b"[" * (n // 2) + b"]" * (n // 2),
    "nested objects": lambda n: b'{"a":' * (n // 8) + b"1" + b"}" * (n // 8),
    "an open array": lambda n: b"[" * n,
    "numbers": lambda n: b'{"amount":[' + b",".join([b"1.5e3"] * (n // 6)) + b"]}",
    "a long number": lambda n: b'{"amount":1' + b"0" * n + b"}",
    "a long exponent": lambda n: b'{"amount":1e' + b"0" * n + b"1}",
    "a long fraction": lambda n: b'{"amount":0.' + b"0" * n + b"1}",
    "a long number of another spelling": lambda n: in_payment(payer={"msisdn": "0" + " -" * (n // 2)}),
    "a long reference": lambda n: in_payment(description="\\" * n),
    "escapes": lambda n: b'{"reference":"' + b"\\u00e9" * (n // 6) + b'"}',
    "spaces": lambda n: b" " * n + b"{}",
    "no UTF-8 at the end": lambda n: b" " * n + b"\xff",
}
HEADERS: dict[str, Callable[[int], list[tuple[bytes, bytes]]]] = {
    "Idempotency-Key of quotes": lambda n: [(b"idempotency-key", b'"' * n)],
    "Idempotency-Key of escapes": lambda n: [(b"idempotency-key", b'"' + b"\\" * n + b'"')],
    "many Idempotency-Keys": lambda n: [(b"idempotency-key", name.encode()) for name in names(n)],
    "X-Forwarded-For": lambda n: [(b"x-forwarded-for", b"10.0.0.1," * (n // 9))],
    "many X-Forwarded-Fors": lambda n: [(b"x-forwarded-for", b"10.0.0.1")] * (n // 25),
    "X-Forwarded-For of colons": lambda n: [(b"x-forwarded-for", b":" * n)],
    "X-User-Id": lambda n: [(b"x-user-id", b"a" * n)],
    "traceparent": lambda n: [(b"traceparent", b"00-" + b"0" * n)],
    "traceparent of dashes": lambda n: [
        (b"traceparent", b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-00" + b"-" * n)
    ],
    "Accept": lambda n: [(b"accept", b"text/html;q=0.1," * (n // 16))],
    "Content-Type": lambda n: [(b"content-type", b"application/json" + b";a=b" * (n // 4))],
    "Cookie": lambda n: [(b"cookie", b"a=b; " * (n // 5))],
    "Authorization": lambda n: [(b"authorization", b"Bearer " + b" " * n + b"x")],
    "many headers": lambda n: [(name.encode(), b"v") for name in names(n)],
}
QUERIES: dict[str, Callable[[int], bytes]] = {
    "many keys": lambda n: b"&".join(b"%s=1" % name.encode() for name in names(n)),
    "one key many times": lambda n: b"limit=5&" * (n // 8),
    "ampersands": lambda n: b"&" * n,
    "escapes": lambda n: b"payer=" + b"%20" * (n // 3),
    "a long cursor": lambda n: b"after=" + b"A" * n,
    "a long number": lambda n: b"limit=" + b"1" * n,
    "a long payer": lambda n: b"payer=0" + b"+" * n,
}
PATHS: dict[str, Callable[[int], str]] = {
    "slashes": lambda n: "/api/v1/payments" + "/" * n,
    "segments": lambda n: "/api/v1/payments" + "/a" * (n // 2),
    "dots": lambda n: "/api/v1" + "/." * (n // 2) + "/payments",
    "a long id": lambda n: "/api/v1/payments/" + "a" * n,
    "a long id with %": lambda n: "/api/v1/payments/" + "%" * n,
    "a long callback token": lambda n: "/api/v1/callbacks/mtn_momo/" + "a" * n,
}
CASES: dict[str, Make] = (
    {f"body: {name}": lambda n, make=make: Request(body=make(n)) for name, make in BODIES.items()}
    | {
        f"callback: {name}": lambda n, make=make: Request(
            path="/api/v1/callbacks/hubtel/" + "t" * 43, body=make(n)
        )
        for name, make in BODIES.items()
    }
    | {f"header: {name}": lambda n, make=make: Request(headers=make(n)) for name, make in HEADERS.items()}
    | {
        f"query: {name}": lambda n, make=make: Request("GET", query=make(n), body=b"")
        for name, make in QUERIES.items()
    }
    | {f"path: {name}": lambda n, make=make: Request(path=make(n)) for name, make in PATHS.items()}
)


async def assert_linear(api: Served, name: str, make: Make) -> None:
    before = await operations_of(api, make(SIZE))
    for size in (2 * SIZE, 4 * SIZE - 400):
        now = await operations_of(api, make(size))
        assert now <= RATIO_MAX * before + FIXED, (name, size, before, now)
        before = now


@pytest.mark.parametrize("name", CASES)
async def test_the_work_for_a_request_grows_no_faster_than_its_size(api: Served, name: str):
    await assert_linear(api, name, CASES[name])


ALPHABET = ['{"a":', "[", "]", "}", '"n%d":1,', '"', "\\", "0", "1e", "-", ",", ":", " ", "\u00e9", "null"]


@pytest.mark.parametrize("seed", range(20))
async def test_the_work_for_random_repeated_bodies_is_linear(api: Served, seed: int):
    parts = random.Random(seed).choices(ALPHABET, k=random.Random(seed).randint(1, 6))

    def make(n: int) -> Request:
        text, number = "{", 0
        while len(text) < n // 2:
            for part in parts:
                text += part % number if "%d" in part else part
                number += 1
        return Request(body=text.encode())

    await assert_linear(api, "".join(parts), make)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
async def test_a_body_of_any_depth_is_read_or_refused(api: Served, opening: bytes, closing: bytes):
    """Decoding and fingerprint both recurse, and the stack's limit lies between two depths."""
    for depth in range(850, 1_010, 2):
        body = b'{"amount":' + opening * depth + b"1" + closing * depth + b"}"
        assert 400 <= await status_of(api.app, Request(body=body), api.key) < 500, depth


async def test_the_count_finds_quadratic_work():
    """Or the tests above could not fail."""

    async def quadratic(scope: Any, receive: Any, send: Any) -> None:
        parts = (await receive())["body"].split(b",")
        for part in parts:
            sum(1 for other in parts if other == part)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    counts = []
    for size in (200, 400):
        with counting() as operations:
            await status_of(quadratic, Request(body=b"1," * size), "")
        counts.append(operations.number)
    assert counts[1] > 3.5 * counts[0]
