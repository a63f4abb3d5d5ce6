"""Valkey restarts, loses data, stops and fails over during payments: each valid request gets one response."""

import asyncio
import contextlib
from collections import Counter
from itertools import count
from uuid import uuid4

import pytest

from service.test_service_guard import served
from synccash.resilience.rate_limiter import Demand, Limit
from synccash.stores.valkey.client import UNREACHABLE, build_client
from valkey_pair import pair

WIDE = Limit(name="wide", scope="ip", quota=1_000_000, period_s=60)


@contextlib.asynccontextmanager
async def under_payments(api):
    """Merchants that send each payment request twice at once and once more; returns the responses."""
    going, told, wallets = True, [], count()

    async def merchant():
        while going:
            # A wallet of its own, so that no payment meets the limit of another.
            order = {"key": uuid4().hex, "reference": uuid4().hex, "msisdn": f"0241{next(wallets):06}"}
            asked = [api.pay(**order) for _ in range(2)]
            told.append([*await asyncio.gather(*asked), await api.pay(**order)])

    asking = [asyncio.create_task(merchant()) for _ in range(4)]
    try:
        yield told
    finally:
        going = False
        await asyncio.gather(*asking)


async def shared_again(api):
    async with asyncio.timeout(30):
        while (await api.service.guard.limiter.check("e", [Demand(WIDE, "a")])).degraded:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def more(told, count):
    """Until so many more payments were made."""
    target = len(told) + count
    async with asyncio.timeout(30):
        while len(told) < target:  # noqa: ASYNC110 - the merchants set no event
            await asyncio.sleep(0.01)


async def written(client):
    """Until a client of redis-py can write: the breakers and the doorbell have such ones."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(*UNREACHABLE):
                await client.set("x", "y")
                return
            await asyncio.sleep(0.02)


def assert_each_was_made_once(told):
    assert {answer.status_code for answers in told for answer in answers} == {201}
    for answers in told:
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    payments = Counter(answers[0].json()["id"] for answers in told)
    assert set(payments.values()) == {1}


@pytest.mark.parametrize("trouble", ["forget_scripts", "flush", "restart", "kill", "freeze"])
async def test_no_payment_fails_or_doubles_under_any_valkey_fault(database_url, stoppable_valkey, trouble):
    # The third of each three has the number's quota, which is not what is tried here.
    async with served(
        database_url, valkey_url=stoppable_valkey.url, rate_limits="payment_initiation=100000/60"
    ) as api:
        async with under_payments(api) as told:
            await more(told, 8)
            getattr(stoppable_valkey, trouble)()
            await more(told, 8)
            stoppable_valkey.revive()
            await more(told, 8)
        await shared_again(api)
    assert_each_was_made_once(told)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "demoted"])
async def test_a_valkey_failover_fails_no_payment_and_the_new_primary_keeps_counting(database_url, killed):
    with pair() as valkeys:
        async with (
            build_client(valkeys.url) as beside,
            served(database_url, valkey_url=valkeys.url, rate_limits="payment_initiation=5/3600") as api,
        ):
            await written(beside)
            user = {"X-User-Id": "ama"}
            assert [(await api.pay(**user)).status_code for _ in range(6)] == [201] * 5 + [429]
            limits = {"rate_limits": "payment_initiation=100000/60"}
            async with served(database_url, valkey_url=valkeys.url, **limits) as busy:
                async with under_payments(busy) as told:
                    await more(told, 8)
                    valkeys.fail_over(killed=killed)
                    await more(told, 8)
                await shared_again(busy)
            await shared_again(api)
            await written(beside)
            assert (await api.pay(**user)).status_code == 429, "what was used is known to the new primary"
            assert valkeys.replica.run("ROLE")[0] == b"master"
    assert_each_was_made_once(told)
