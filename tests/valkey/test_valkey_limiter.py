"""Rate limits shared through a real Valkey, and local decisions while Valkey is unavailable."""

import asyncio
import contextlib

import pytest
import redis
import uvloop

from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.profiles import VALKEY
from synccash.resilience.rate_limiter import Block, Demand, Limit, MemoryLimiter
from synccash.resilience.testing import FakeClock
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey.connection import ValkeyConnection
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.limits.script import answer_key
from synccash.stores.valkey.presence import API_PROCESSES, Presence

USER = Limit(name="payment_initiation", scope="user", quota=10, period_s=600, burst=3)
KEY = Limit(name="api_key", scope="api_key", quota=1_000, period_s=1)
BOTH = [Demand(USER, "ama"), Demand(KEY, "k")]
WIDE = Limit(name="wide", scope="ip", quota=1_000_000, period_s=60)


@contextlib.asynccontextmanager
async def limiting(url, **options):
    breaker = CircuitBreaker("valkey", BreakerSettings(failures=3, open_s=0.05))
    # The default of 0.05 s is too short for a busy machine; only a frozen Valkey makes a test wait for it.
    limiter = ValkeyLimiter(url, breaker=breaker, **{"deadline_s": 1.0} | options)
    try:
        yield limiter
    finally:
        await limiter.aclose()


async def until_not_degraded(limiter, demands):
    async with asyncio.timeout(30):
        while (await limiter.check("e", demands)).degraded:  # noqa: ASYNC110 - a server sets no event
            await asyncio.sleep(0)


async def test_two_processes_share_the_thirteen_units_of_a_limit(valkey_url):
    async with limiting(valkey_url) as one, limiting(valkey_url) as other:
        decisions = await asyncio.gather(*(limiter.check("p", BOTH) for limiter in (one, other) * 20))
    assert sum(decision.allowed for decision in decisions) == 13
    assert one.counts.allowed["p"] + other.counts.allowed["p"] == 13
    assert one.counts.blocked["p"] + other.counts.blocked["p"] == 27
    refused = next(decision for decision in decisions if not decision.allowed)
    assert refused.binding.demand.limit is USER
    assert 0 < refused.retry_after_s <= 60


async def test_no_answer_is_stored_while_the_breaker_is_open(valkey_url):
    breaker, answer_name = CircuitBreaker("valkey"), answer_key("merchant", "key-1")
    limiter = ValkeyLimiter(valkey_url, breaker=breaker)
    breaker.force_open("Valkey is down")
    assert not await limiter.store_answer(answer_name, b"the answer")
    breaker.reset()
    assert (await limiter.check("p", BOTH, answer=answer_name)).answer is None
    assert await limiter.store_answer(answer_name, b"the answer")
    await limiter.aclose()


def test_valkey_is_probed_every_second_however_long_it_was_down():
    clock = FakeClock()
    breaker = CircuitBreaker("valkey", VALKEY.breaker, clock=clock, random=lambda: 0.0)
    for _ in range(3):
        breaker.observe(Outcome.FAILED, 0.05)
    for _ in range(20):
        clock.move(1.0)
        breaker.record(breaker.acquire(), Outcome.FAILED, 0.05)
    assert breaker.retry_after() == 1.0


async def test_a_stored_answer_is_returned_and_costs_no_user_quota(valkey_url):
    answer_name = answer_key("merchant", "key-1")
    async with limiting(valkey_url) as limiter:
        assert (await limiter.check("p", BOTH, answer=answer_name)).answer is None
        assert await limiter.store_answer(answer_name, b"the answer")
        decisions = [await limiter.check("p", BOTH, answer=answer_name) for _ in range(20)]
        assert {decision.answer for decision in decisions} == {b"the answer"}
        assert all(decision.allowed for decision in decisions)
        assert (await limiter.peek(BOTH)).statuses[0].remaining == 12


async def test_every_key_expires_when_it_no_longer_matters_and_all_share_one_slot(valkey_url):
    strict = Limit(name="s", scope="ip", quota=1, period_s=10, block=Block(violations=1, duration_s=5))
    async with limiting(valkey_url) as limiter:
        for _ in range(2):
            await limiter.check("e", [Demand(strict, "a"), Demand(USER, "ama")])
    with redis.Redis.from_url(valkey_url) as client:
        keys = client.keys()
        assert len(keys) == 3
        assert all(0 < client.pttl(key) <= 3_605_000 for key in keys)
        assert all(key.startswith(b"{synccash:rl}:") for key in keys)


async def test_a_script_flush_fails_no_request(stoppable_valkey):
    async with limiting(stoppable_valkey.url) as limiter:
        await until_not_degraded(limiter, [Demand(WIDE, "a")])
        stoppable_valkey.forget_scripts()
        decisions = await asyncio.gather(*(limiter.check("e", [Demand(WIDE, "a")]) for _ in range(50)))
        assert all(decision.allowed and not decision.degraded for decision in decisions)


@pytest.mark.parametrize("trouble", ["restart", "flush", "kill", "freeze"])
async def test_an_outage_under_load_fails_no_request_and_valkey_is_used_again(stoppable_valkey, trouble):
    async with limiting(stoppable_valkey.url, deadline_s=0.05) as limiter:
        await until_not_degraded(limiter, [Demand(WIDE, "a")])
        going, decisions = True, []

        async def ask():
            while going:
                decisions.append(await limiter.check("e", [Demand(WIDE, "a")]))
                await asyncio.sleep(0.002)

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        getattr(stoppable_valkey, trouble)()
        await asyncio.sleep(0.2)
        stoppable_valkey.revive()
        going = False
        await asyncio.gather(*asking)
        await until_not_degraded(limiter, [Demand(WIDE, "a")])
    assert all(decision.allowed for decision in decisions)
    assert limiter.counts.degraded > 0 or trouble in ("flush", "restart")


async def test_without_valkey_each_process_grants_its_share_less_what_valkey_granted(stoppable_valkey):
    async with limiting(stoppable_valkey.url, instances=lambda: 2) as limiter:
        await until_not_degraded(limiter, [Demand(WIDE, "a")])
        for _ in range(4):
            assert (await limiter.check("e", [Demand(USER, "ama")])).allowed
        stoppable_valkey.kill()
        decisions = [await limiter.check("e", [Demand(USER, "ama")]) for _ in range(10)]
    assert all(decision.degraded for decision in decisions)
    assert sum(decision.allowed for decision in decisions) == 2


async def test_two_processes_grant_half_each_without_valkey_and_a_single_one_grants_all(stoppable_valkey):
    async with contextlib.AsyncExitStack() as stack:
        presences, fleets, limiters = [], [], []
        for name in ("one", "other"):
            line = ValkeyConnection(stoppable_valkey.url)
            stack.push_async_callback(line.aclose)
            presences.append(Presence(line, name))
            fleets.append(presences[-1].membership(API_PROCESSES, assumed=7))
            fleets[-1].join()
            limiters.append(
                await stack.enter_async_context(limiting(stoppable_valkey.url, instances=fleets[-1].size))
            )
        assert [fleet.size() for fleet in fleets] == [7, 7], (
            "before the first beat, the assumed number is used"
        )
        for presence in (*presences, presences[0]):
            await presence.beat()
        assert [fleet.size() for fleet in fleets] == [2, 2]
        for limiter in limiters:
            await until_not_degraded(limiter, [Demand(WIDE, "a")])
        stoppable_valkey.kill()
        for limiter in limiters:
            decisions = [await limiter.check("e", [Demand(USER, "ama")]) for _ in range(10)]
            assert sum(decision.allowed for decision in decisions) == 6, "half of 10, and half of 3"


async def test_each_limit_follows_its_fail_policy_without_valkey(stoppable_valkey):
    stoppable_valkey.kill()
    opened = Limit(name="o", scope="ip", quota=1, period_s=60, fail_policy="open")
    closed = Limit(name="c", scope="ip", quota=100, period_s=60, fail_policy="closed")
    async with limiting(stoppable_valkey.url) as limiter:
        for _ in range(3):
            assert (await limiter.check("e", [Demand(opened, "a")])).allowed
        refused = await limiter.check("e", [Demand(opened, "a"), Demand(closed, "a")])
        assert not refused.allowed
        assert refused.retry_after_s > 0


async def test_a_known_block_is_refused_without_asking_valkey(stoppable_valkey):
    strict = Limit(name="s", scope="ip", quota=1, period_s=60, block=Block(violations=2, duration_s=100))
    async with limiting(stoppable_valkey.url) as limiter:
        await until_not_degraded(limiter, [Demand(WIDE, "a")])
        last = [await limiter.check("e", [Demand(strict, "a")]) for _ in range(3)][-1]
        assert last.newly_blocked == 1
        assert limiter.counts.key_blocked == 1
        until = last.binding.blocked_until_us
        stoppable_valkey.kill()
        refused = await limiter.check("e", [Demand(strict, "a")])
        assert not refused.degraded
        assert refused.binding.blocked_until_us == until


async def test_an_operator_blocks_and_unblocks_a_key_in_all_processes(valkey_url):
    async with limiting(valkey_url) as one, limiting(valkey_url) as other:
        await one.block(USER, "ama", 60)
        assert (await other.peek(BOTH)).statuses[0].blocked_until_us > 0
        assert not (await one.check("p", BOTH)).allowed
        await one.unblock(USER, "ama")
        assert (await one.check("p", BOTH)).allowed
        assert (await other.check("p", BOTH)).allowed


async def test_the_blocked_keys_of_all_processes_are_listed_until_their_blocks_end(valkey_url):
    strict = Limit(name="s", scope="ip", quota=1, period_s=60, block=Block(violations=1, duration_s=100))
    long_id = "x" * 200
    async with limiting(valkey_url) as one, limiting(valkey_url) as other:
        for _ in range(2):
            await one.check("e", [Demand(strict, "2001:db8::/64")])
        await one.block(USER, "mer:test:~ama", 60)
        await one.block(USER, long_id, 30)
        found, complete = await other.blocked(10)
        assert complete
        assert [(key.limit_key, key.id) for key in found[:2]] == [
            ("ip:s", "2001:db8::/64"),
            ("user:payment_initiation", "mer:test:~ama"),
        ]
        assert (await other.blocked(1))[0] == found[:1]
        await other.unblock(USER, found[2].id)
        await other.unblock(strict, "2001:db8::/64")
        assert [key.id for key in (await one.blocked(10))[0]] == ["mer:test:~ama"]
        assert (await one.peek([Demand(USER, long_id)])).statuses[0].blocked_until_us == 0
        await one.block(USER, "mer:test:~ama", 0.001)
        async with asyncio.timeout(30):
            while (await one.blocked(10))[0]:  # noqa: ASYNC110 - a server sets no event
                await asyncio.sleep(0)


async def test_without_valkey_the_keys_that_this_process_blocked_are_listed():
    async with limiting("valkey://127.0.0.1:1/0") as limiter:
        await limiter.block(USER, "ama", 60)
        found, complete = await limiter.blocked(10)
    assert ([key.id for key in found], complete) == (["ama"], False)


async def test_an_operators_block_keeps_the_used_units(valkey_url):
    async with limiting(valkey_url) as limiter:
        for _ in range(4):
            await limiter.check("p", BOTH)
        await limiter.block(USER, "ama", 60)
        status = (await limiter.peek(BOTH)).statuses[0]
        assert status.blocked_until_us > 0
        assert status.remaining == 9


async def test_a_hundred_concurrent_requests_are_decided_one_by_one(valkey_url):
    answer_name = answer_key("merchant", "key-1")
    async with limiting(valkey_url) as limiter:
        assert await limiter.store_answer(answer_name, b"the answer")
        decisions = await asyncio.gather(
            *(limiter.check("p", BOTH, answer=answer_name if number % 2 else None) for number in range(100))
        )
        standings = await limiter.peek(BOTH)
    fresh, repeats = decisions[::2], decisions[1::2]
    assert [one.allowed for one in fresh] == [True] * 13 + [False] * 37
    assert all(one.allowed and one.answer == b"the answer" for one in repeats)
    assert standings.statuses[1].remaining >= 1_000 - 63


async def test_a_request_without_demands_is_granted_without_valkey(stoppable_valkey):
    stoppable_valkey.kill()
    async with limiting(stoppable_valkey.url) as limiter:
        decision = await limiter.check("e", ())
    assert decision.allowed
    assert not decision.degraded


async def test_a_cancelled_request_does_not_affect_the_others(valkey_url):
    async with limiting(valkey_url, local=MemoryLimiter()) as limiter:
        asking = [asyncio.create_task(limiter.check("e", BOTH)) for _ in range(6)]
        await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert all(not result.degraded and result.allowed for result in results[1::2])


def test_the_limiter_works_on_uvloop(valkey_url):
    async def once():
        async with limiting(valkey_url) as limiter:
            return await asyncio.gather(*(limiter.check("e", BOTH) for _ in range(20)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        decisions = runner.run(once())
    assert not any(decision.degraded for decision in decisions)
    assert sum(decision.allowed for decision in decisions) == 13
