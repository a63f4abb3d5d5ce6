"""Attacks: paths, headers and bodies that try to get around keys, limits and roles, sent without a client."""

import asyncio
import base64
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from api.served import PROBLEM, Served, payment
from service.operators import token_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Told:
    status: int
    media_type: str
    body: bytes
    route: str | None


async def ask(api: Served, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Told:
    """A request as it stands: no client of ours that tidies the path or the headers up."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode("ascii", "replace"),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": list(headers),
        "client": ("192.0.2.1", 1),
        "server": ("api", 80),
        "state": {},
    }
    given = [{"type": "http.request", "body": body, "more_body": False}]
    told: list[Any] = []

    async def receive() -> Any:
        return given.pop() if given else await asyncio.Future()

    async def send(message: Any) -> None:
        told.append(message)

    await api.app(scope, receive, send)
    headers_told = dict(told[0]["headers"])
    media_type = headers_told.get(b"content-type", b"").decode()
    return Told(told[0]["status"], media_type, told[1]["body"], scope.get("path_template"))


def bearer(key: str) -> Headers:
    return [(b"authorization", f"Bearer {key}".encode())]


SPELLINGS = [
    "//api/v1/payments",
    "api/v1/payments",
    "///api/v1/payments/",
    "/api//v1/payments",
    "/api/v1//payments//",
    "/api/v1/payments/",
    "/api/v1/callbacks/../payments",
    "/api/v1/callbacks//../payments",
    "/API/v1/payments",
    "/api/v1/Payments",
    "/api/v1/./payments",
    "/api/v1/payments/.",
    "/api/v1/payments/..",
    "/api/v1/payments;x=1",
    "/api/v1/payments\n",
    "/api/v1/pay%6dents",
    "/api/v1%2Fpayments",
    "/x/../api/v1/payments",
    "//api/v1/resilience/circuit-breakers",
    "//api/v1/resilience/health",
    "//api/v1/webhook-endpoints",
]


@pytest.mark.parametrize("path", SPELLINGS, ids=repr)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_spelling_of_a_path_reaches_anything_without_a_key(api: Served, method: str, path: str):
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", b"k")]
    told = await ask(api, method, path, headers, b"{}")
    if told.route == "/api/v1/callbacks/{rail}/{token}":
        assert (told.status, told.body) == (200, b""), "callbacks are for everybody, and hints only"
        return
    assert told.status in (401, 404, 405), told
    assert told.media_type == PROBLEM
    assert told.route is None, "it never came to a handler"


@pytest.mark.parametrize("path", ["//api/v1/payments", "/api//v1/payments/", "api/v1//payments"])
async def test_another_spelling_that_is_understood_is_the_same_call_under_the_same_limit(
    api: Served, path: str
):
    series = 'rate_limit_allowed_total{endpoint="payment_list"}'
    before = await counted(api, series)
    assert (await ask(api, "GET", path, bearer(api.key))).status == 200
    assert await counted(api, series) == before + 1


async def counted(api: Served, series: str) -> float:
    lines = (await api.client.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(series)).rpartition(" ")[2])


@pytest.mark.parametrize(
    "path", ["/api/v1/nonsense", "/api/v1", "/api/v2/payments", "/nonsense", "/api/v1/payments/a/b/c"]
)
@pytest.mark.parametrize("known", [True, False])
async def test_an_unknown_route_is_a_404_with_and_without_a_key(api: Served, path: str, known: bool):
    told = await ask(api, "GET", path, bearer(api.key) if known else ())
    assert (told.status, told.media_type) == (404, PROBLEM)


@pytest.mark.parametrize(
    "headers",
    [
        lambda key: [*bearer(key), *bearer(key)],
        lambda key: [*bearer("sk_test_x"), *bearer(key)],
        lambda key: [(b"authorization", f"Bearer {key}, Bearer {key}".encode())],
        lambda key: [(b"authorization", f"Basic {key}".encode())],
        lambda key: [(b"authorization", b"Bearer \xff\x00")],
        lambda key: [(b"authorization", b"Bearer " + b"x" * 60_000)],
        lambda key: [(b"x-authorization", f"Bearer {key}".encode())],
        lambda key: [(b"proxy-authorization", f"Bearer {key}".encode())],
    ],
)
async def test_a_malformed_api_key_gets_401(api: Served, headers: Any):
    assert (await ask(api, "GET", "/api/v1/payments", headers(api.key))).status == 401


async def test_two_different_idempotency_keys_are_refused(api: Served):
    headers = [
        *bearer(api.key),
        (b"content-type", b"application/json"),
        (b"idempotency-key", b"one"),
        (b"idempotency-key", b"two"),
    ]
    told = await ask(api, "POST", "/api/v1/payments", headers, b'{"amount":1}')
    assert (told.status, b"idempotency_key" in told.body) in ((400, True), (422, False))


@pytest.mark.parametrize("part", ["pay_%00", "%0d%0aX-Evil:1", "%e2%80%ae", "x" * 600])
async def test_an_impossible_id_is_a_404_in_every_call(api: Served, part: str):
    document = (await api.client.get("/openapi.json")).json()
    operator = await token_of(api.operators, f"ama-{uuid.uuid4().hex}", "admin")
    for path, item in document["paths"].items():
        if "{" not in path:
            continue
        for method, operation in item.items():
            real = "/" + "/".join(part if p.startswith("{") else p for p in path.split("/")[1:])
            headers = {
                "Authorization": f"Bearer {api.secret_for(method, path, operation, operator)}",
                "Content-Type": "application/json",
                "Idempotency-Key": "k",
            }
            told = await api.client.request(method.upper(), real, headers=headers, content=b"{}")
            assert (told.status_code, told.headers["content-type"]) == (404, PROBLEM), (method, path)


@pytest.mark.parametrize(
    "inside",
    [
        "0001-01-01T00:00:00+14:00 pay_1",
        "9999-12-31T23:59:59-14:00 pay_1",
        "2026-01-01T00:00:00 pay_1",
        "2026-01-01T00:00:00+00:00 ",
        "2026-01-01T00:00:00+00:00 a\0b",
        "2026-01-01T00:00:00+00:00 ' OR true --",
        "NaN pay_1",
        "",
    ],
)
async def test_an_invented_cursor_is_refused(api: Served, inside: str):
    cursor = base64.urlsafe_b64encode(inside.encode()).decode()
    told = await api.send("GET", f"/payments?after={cursor}")
    assert (told.status_code, told.json()["errors"][0]["field"]) == (422, "after")


async def test_a_cursor_of_another_merchant_shows_nothing_of_that_merchant(api: Served):
    for _ in range(2):
        await api.pay()
    theirs = (await api.send("GET", "/payments?limit=1")).json()["next"]
    assert (await api.send("GET", f"/payments?after={theirs}", key=api.other_key)).json()["data"] == []


@pytest.mark.parametrize(
    "amount", ["1.0", "-0", "0", "true", "1e2", "1E400", '"100"', "01", "+1", "1_0", "[1]"]
)
async def test_an_amount_must_be_written_as_a_whole_number(api: Served, amount: str):
    body = payment()
    del body["amount"]
    raw = json.dumps(body)[:-1] + f', "amount": {amount}}}'
    told = await api.send("POST", "/payments", raw.encode(), Idempotency_Key="k")
    assert told.status_code in (400, 422)


async def test_a_decision_about_an_order_of_another_kind_is_refused(api: Served):
    paid = (await api.pay()).json()["id"]
    body = {"outcome": "failed", "evidence": "statement line 7"}
    told = await api.send("POST", f"/refunds/{paid}/resolve", body, key=api.admin_key)
    assert told.status_code == 404
    assert (await api.send("POST", f"/payments/{paid}/resolve", body, key=api.admin_key)).status_code == 409


async def test_callbacks_use_only_a_few_database_connections(api: Served, monkeypatch: pytest.MonkeyPatch):
    from synccash.stores.postgres.orders.order_store import PostgresOrderStore

    running, most, once = 0, 0, PostgresOrderStore._once  # pyright: ignore[reportPrivateUsage]

    async def counted(self: PostgresOrderStore, *given: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await once(self, *given)
        finally:
            running -= 1

    monkeypatch.setattr(PostgresOrderStore, "_once", counted)
    # Of the form of a former release's tokens, which only PostgreSQL knows.
    paths = [f"/api/v1/callbacks/mtn_momo/{f'guess{n}_':_<43}" for n in range(60)]
    told = await asyncio.gather(*(ask(api, "PUT", path, body=b"{}") for path in paths))
    assert {one.status for one in told} == {200}
    assert 1 <= most <= 4


async def test_an_internal_error_is_a_problem_like_any_other(api: Served, monkeypatch: pytest.MonkeyPatch):
    from synccash.stores.postgres.orders.reading import PostgresReading

    async def broken(*_: object) -> None:
        raise RuntimeError("canary 0241234567")

    monkeypatch.setattr(PostgresReading, "payment", broken)
    told = await api.send("GET", "/payments/pay_1")
    assert (told.status_code, told.headers["content-type"]) == (500, PROBLEM)
    assert "canary" not in told.text


@pytest.mark.parametrize("path", ["/openapi", "/openapi/openapi.json", "/schema", "/docs/openapi.json"])
async def test_the_description_is_served_once(api: Served, path: str):
    assert (await api.client.get(path)).status_code == 404


async def test_requests_are_counted_by_route_and_unknown_paths_make_no_series(api: Served):
    listed = 'http_requests_total{method="GET",route="/api/v1/payments",status="2xx"}'
    unseen = 'http_requests_total{method="POST",route="/api/v1/webhook-endpoints",status="5xx"}'
    nowhere = 'http_requests_total{method="other",route="none",status="4xx"}'
    before = [await counted(api, series) for series in (listed, nowhere)]
    await api.send("GET", "/payments")
    await ask(api, "canary", "/canary")
    assert [await counted(api, series) for series in (listed, nowhere)] == [n + 1 for n in before]
    assert await counted(api, unseen) == 0
    assert "canary" not in (await api.client.get("/metrics")).text
