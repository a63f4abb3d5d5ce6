"""The maximum number of Valkey connections of one process under concurrent work."""

import asyncio

import pytest
import redis

from api.served import settings
from breaker_peers import until
from service.test_service_guard import served
from synccash.processes.assembly.service import assembled
from synccash.stores.valkey.client import COMMAND_CONNECTIONS
from synccash.stores.valkey.work_signal import WORK

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


@pytest.mark.parametrize(("role", "listeners"), [("api", 0), ("worker", 1)])
async def test_only_a_process_that_takes_due_orders_listens_to_the_work_signal(
    database_url, valkey_url, role, listeners
):
    with redis.Redis.from_url(valkey_url) as client:
        async with assembled(settings(database_url, valkey_url=valkey_url), database_url, role):
            # Every process listens to breakers: once it does, it listens to all that it will.
            await until(lambda: client.pubsub_numsub("synccash:breakers")[0][1] == 1)
            await until(lambda: client.pubsub_numsub(WORK)[0][1] == listeners)


def subscriptions(client):
    return [int(one["sub"]) for one in client.client_list() if one["sub"] != "0"]
