"""A rate that several processes keep together in Valkey."""

import asyncio

import pytest

from synccash.resilience.errors import RateExceededError
from synccash.resilience.rate import Rate, RateGate
from synccash.stores.valkey.client import build_client
from synccash.stores.valkey.shared_rate import KEY, ValkeyRate


async def test_processes_together_get_one_burst_and_then_the_rate(valkey_url):
    clients = [build_client(valkey_url, deadline_s=5.0) for _ in range(3)]
    stores = [ValkeyRate(client) for client in clients]
    results = [await stores[number % 3].take("rates", 60.0, 4) for number in range(7)]
    assert results[:4] == [0, 0, 0, 0]
    assert all(wait == pytest.approx(60.0, abs=30.0) for wait in results[4:])
    assert await stores[0].take("others", 60.0, 4) == 0
    assert 0 < await clients[0].pttl(KEY + "rates") <= 241_000
    for client in clients:
        await client.aclose()


async def test_calls_of_two_processes_start_at_the_rate(valkey_url):
    clients = [build_client(valkey_url, deadline_s=5.0) for _ in range(2)]
    gates = [RateGate("rates", Rate("50/s"), shared=ValkeyRate(client)) for client in clients]
    seconds, micros = await clients[0].time()
    await asyncio.gather(*(gate.acquire() for gate in gates for _ in range(5)))
    full_at = int(await clients[0].get(KEY + "rates"))
    assert full_at - (seconds * 1_000_000 + micros) >= 10 * 20_000  # ten turns of 20 ms, none for nothing
    for client in clients:
        await client.aclose()


async def test_while_valkey_is_away_each_process_has_the_rate_alone(stoppable_valkey):
    client = build_client(stoppable_valkey.url)
    gate = RateGate("rates", Rate("1/h", burst=2), shared=ValkeyRate(client))
    await gate.acquire()
    stoppable_valkey.kill()
    await gate.acquire()
    with pytest.raises(RateExceededError):
        await gate.acquire(1.0)
    await client.aclose()
