"""The programs in examples/, run and asked as their readers would."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def fastapi_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield import_module("fastapi_app")
    del sys.modules["fastapi_app"]


def client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://shop")


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ("litestar_app", "/orders"),
        ("starlette_mount", "/api/orders"),
        ("django_app", "/orders"),
        ("wsgi_app", "/orders"),
    ],
)
async def test_a_repeated_order_is_taken_once(program: str, path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = import_module(program)
    key = {"Idempotency-Key": "order-7"}
    async with client(example.app) as shop:
        first = await shop.post(path, json={"item": 7}, headers=key)
        again = await shop.post(path, json={"item": 7}, headers=key)
        without = await shop.post(path, json={"item": 7})
    assert (first.status_code, first.json()) == (201, {"order": 1})
    assert (again.status_code, again.content) == (201, first.content)
    assert (without.status_code, without.json()["code"]) == (400, "idempotency_key_invalid")
    assert example.orders == [7]


async def test_the_plain_asyncio_example_calls_fails_and_recovers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    lines = await import_module("plain_asyncio").main()
    assert lines[0] == "20 answers, 20 calls"
    assert lines[1] == "ConnectionRefusedError after 3 calls"
    assert lines[2].startswith("not called: 3 failures in a row")
    assert lines[3] == "recovered: 15.2"


async def test_an_order_that_is_sent_twice_takes_one_piece(fastapi_app: ModuleType):
    stock = fastapi_app.Stock()
    key = {"Idempotency-Key": "order-7"}
    async with client(fastapi_app.shop(stock)) as shop:
        first = await shop.post("/orders", json={"item": 7}, headers=key)
        again = await shop.post("/orders", json={"item": 7}, headers=key)
        other = await shop.post("/orders", json={"item": 8}, headers=key)
        without = await shop.post("/orders", json={"item": 7})
    assert (first.status_code, first.json()) == (201, {"order": 1, "item": 7})
    assert (again.status_code, again.content) == (201, first.content)
    assert (other.status_code, without.status_code) == (422, 400)
    assert stock.taken == 1


async def test_the_seventh_order_of_a_minute_has_to_wait(fastapi_app: ModuleType):
    async with client(fastapi_app.shop(fastapi_app.Stock())) as shop:
        answers = [
            await shop.post("/orders", json={"item": 7}, headers={"Idempotency-Key": f"order-{number}"})
            for number in range(7)
        ]
    assert [answer.status_code for answer in answers] == [201] * 6 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_a_stock_that_is_away_opens_the_breaker(fastapi_app: ModuleType):
    stock = fastapi_app.Stock()
    stock.sick = True
    async with client(fastapi_app.shop(stock)) as shop:
        answers = [
            await shop.post("/orders", json={"item": 7}, headers={"Idempotency-Key": f"order-{number}"})
            for number in range(3)
        ]
        health = await shop.get("/health")
    assert [answer.status_code for answer in answers] == [503] * 3
    assert int(answers[-1].headers["retry-after"]) > 1
    async with client(fastapi_app.shop(stock)) as shop:
        key = {"Idempotency-Key": "order-0"}
        refused = await shop.post("/orders", json={"item": 7}, headers=key)
        stock.sick = False
        again = await shop.post("/orders", json={"item": 7}, headers=key)
    assert (refused.status_code, again.status_code) == (503, 201)
    assert health.json() == {"stock": "open"}
