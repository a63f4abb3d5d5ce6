"""The maximum number of Valkey connections of one process under concurrent work."""

import asyncio

import redis

from breaker_peers import until
from service.test_service_guard import served
from synccash.stores.valkey.client import COMMAND_CONNECTIONS

LISTENER, LIMITS = 1, 1


async def test_a_busy_process_opens_no_more_than_four_connections(database_url, valkey_url):
    counts = []
    settings = {"rate_limits": "payment_initiation=100000/60", "risk_payer_max_payments": 100_000}
    with redis.Redis.from_url(valkey_url) as client:
        before = len(client.client_list())
        async with served(database_url, valkey_url=valkey_url, **settings) as api:
            service = api.service
            service.guard.start()
            service.inquirers.join()
            assert service.shared_risk is not None
            service.shared_risk.start()
            await until(lambda: subscriptions(client) == [3])
            breaker = service.registry.breaker("mtn_momo:collect")
            for _ in range(5):
                work = [api.pay() for _ in range(4)]
                work += [api.ask("GET", "/resilience/circuit-breakers") for _ in range(4)]
                work += [service.health.valkey_state() for _ in range(4)]
                breaker.force_open("by hand")
                breaker.reset("by hand")
                await asyncio.gather(*work)
                counts.append(len(client.client_list()) - before)
            assert subscriptions(client) == [3], "one connection listens to all channels"
    assert 3 <= max(counts) <= COMMAND_CONNECTIONS + LISTENER + LIMITS == 4


def subscriptions(client):
    return [int(one["sub"]) for one in client.client_list() if one["sub"] != "0"]
