"""Which processes are live: on a real Valkey."""

import asyncio
import contextlib
import time

import pytest
import redis

from breaker_peers import until
from synccash.stores.supervised_loops import LoopSupervisor
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.connection import ValkeyConnection
from synccash.stores.valkey.presence import (
    API_PROCESSES,
    BREAKERS,
    INQUIRERS,
    RAIL_HEALTH,
    SILENT_S,
    Presence,
)

GROUPS = (API_PROCESSES, INQUIRERS, RAIL_HEALTH, BREAKERS)
# How processes of earlier versions register: the score is Valkey's time in ms, and they remove after so long.
FORMER = {
    "{synccash:rl}:fleet": 15_000,
    "{synccash:rl}:inquirers": 15_000,
    "synccash:rail_health:instances": 10_000,
    "synccash:breakers:instances": 30_000,
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
async def process():
    """Makes a process's presence, whose heartbeats the test sends."""
    async with contextlib.AsyncExitStack() as stack:

        def made(url, name, **options):
            line = ValkeyConnection(url, deadline_s=1.0)
            stack.push_async_callback(line.aclose)
            return Presence(line, name, **options)

        yield made


class LateHeartbeats(ValkeyConnection):
    """Sends a script only when the test says so; other commands go at once."""

    def __init__(self, url, deadline_s):
        super().__init__(url, deadline_s)
        self.started, self.go_on = asyncio.Event(), asyncio.Event()

    async def call(self, *command):
        if command[0] == b"EVAL":
            self.started.set()
            await self.go_on.wait()
        return await super().call(*command)


def joined(presence, group, **options):
    membership = presence.membership(group, **options)
    membership.join()
    return membership


async def test_groups_are_counted_apart_and_include_the_process_itself(valkey_url, process):
    one, other = process(valkey_url, "one"), process(valkey_url, "other")
    api, inquirers = joined(one, API_PROCESSES), joined(other, INQUIRERS)
    both = [joined(presence, BREAKERS) for presence in (one, other)]
    for presence in (one, other, one):
        await presence.beat()
    assert (api.members(), inquirers.members()) == (["one"], ["other"])
    assert [set(membership.members()) for membership in both] == [{"one", "other"}] * 2


async def test_a_group_that_was_not_joined_does_not_list_the_process(valkey_url, process):
    one, other = process(valkey_url, "one"), process(valkey_url, "other")
    watching = one.membership(API_PROCESSES, assumed=7)
    joined(one, INQUIRERS)
    seen = joined(other, API_PROCESSES)
    await one.beat()
    await other.beat()
    assert (watching.size(), watching.members()) == (7, ())
    assert seen.members() == ["other"]


async def test_the_size_forgets_who_left_but_not_when_valkey_lost_its_data(stoppable_valkey, process):
    clock = Clock()
    one, other = (
        process(stoppable_valkey.url, "one", clock=clock),
        process(stoppable_valkey.url, "other", clock=clock),
    )
    fleet = joined(one, API_PROCESSES)
    joined(other, API_PROCESSES)
    await other.beat()
    await one.beat()
    assert fleet.size() == 2
    stoppable_valkey.flush()
    await one.beat()
    assert fleet.size() == 2, "Valkey lost its data a moment ago"
    clock.now += 15
    await one.beat()
    assert fleet.size() == 1


async def test_during_an_outage_the_last_answer_stands(stoppable_valkey, process):
    one, other = process(stoppable_valkey.url, "one"), process(stoppable_valkey.url, "other")
    inquirers = joined(one, INQUIRERS)
    joined(other, INQUIRERS)
    await other.beat()
    await one.beat()
    stoppable_valkey.kill()
    with pytest.raises(UNREACHABLE):
        await one.beat()
    assert (inquirers.size(), set(inquirers.members())) == (2, {"one", "other"})


async def test_a_process_that_leaves_is_gone_at_once_and_stays_in_its_other_groups(valkey_url, process):
    one, other = process(valkey_url, "one"), process(valkey_url, "other")
    leaving, staying = joined(one, API_PROCESSES), joined(one, BREAKERS)
    seen = [joined(other, group) for group in (API_PROCESSES, BREAKERS)]
    await one.beat()
    await leaving.leave()
    await one.beat()
    await other.beat()
    assert [set(membership.members()) for membership in seen] == [{"other"}, {"one", "other"}]
    assert staying.members() == ["one"]
    await one.close()
    await other.beat()
    assert seen[1].members() == ["other"]


async def test_a_heartbeat_under_way_does_not_register_again_who_leaves(valkey_url, process):
    line = LateHeartbeats(valkey_url, deadline_s=1.0)
    one = Presence(line, "one")
    fleet = joined(one, API_PROCESSES)
    beating = asyncio.create_task(one.beat())
    await line.started.wait()
    leaving = asyncio.create_task(fleet.leave())
    await asyncio.wait([leaving], timeout=0.2)
    line.go_on.set()
    await asyncio.gather(beating, leaving)
    await line.aclose()
    with redis.Redis.from_url(valkey_url) as client:
        assert client.zscore(API_PROCESSES.key, "one") is None


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.key)
async def test_former_and_new_processes_count_each_other(valkey_url, process, group):
    one = process(valkey_url, "one")
    membership = joined(one, group)
    with redis.Redis.from_url(valkey_url) as client:
        seconds, micros = client.time()
        now = seconds * 1_000 + micros // 1_000
        client.zadd(group.key, {"former": now, "dead": now - FORMER[group.key]})
        await one.beat()
        assert set(membership.members()) == {"one", "former"}
        registered = client.zscore(group.key, "one")
        assert now <= registered <= now + 60_000
        assert registered == int(registered)


async def test_the_loop_registers_a_group_that_is_joined_later_at_once(valkey_url, process):
    one = process(valkey_url, "one")
    one.start()
    first = joined(one, BREAKERS)
    await until(first.members)
    second = joined(one, API_PROCESSES)
    began = time.monotonic()
    await until(second.members)
    assert time.monotonic() - began < 1.5, "it did not wait for the next heartbeat"
    await one.close()


async def test_a_key_of_another_type_costs_its_own_group_alone(valkey_url, process):
    supervisor = LoopSupervisor()
    one = process(valkey_url, "one", supervisor=supervisor)
    with redis.Redis.from_url(valkey_url) as client:
        client.set(API_PROCESSES.key, "no sorted set")
    broken, sound = joined(one, API_PROCESSES, assumed=3), joined(one, BREAKERS)
    with pytest.raises(UNREACHABLE):
        await one.beat()
    assert (broken.size(), sound.members()) == (3, ["one"])
    one.start()
    await asyncio.sleep(0)
    await one.close()
    assert supervisor.restarts == {"presence": 0}


async def test_a_watch_tells_for_how_long_a_group_is_empty(stoppable_valkey, process):
    clock = Clock()
    api, worker = process(stoppable_valkey.url, "api", clock=clock), process(stoppable_valkey.url, "worker")
    inquirers = joined(worker, INQUIRERS)
    watched = api.watch(INQUIRERS)
    assert watched.missing_s() is None, "nothing was read"
    await worker.beat()
    await api.beat()
    assert (watched.count, watched.missing_s()) == (1, None)
    await inquirers.leave()
    await api.beat()
    assert watched.missing_s() is None, "it may be restarted"
    clock.now += 4
    await api.beat()
    assert watched.missing_s() == 4 + SILENT_S
    await worker.beat()
    joined(worker, INQUIRERS)
    await worker.beat()
    await api.beat()
    assert watched.missing_s() is None


async def test_a_process_that_sends_no_heartbeats_is_not_counted_by_a_watch(stoppable_valkey, process):
    clock = Clock()
    api = process(stoppable_valkey.url, "api", clock=clock)
    watched = api.watch(INQUIRERS)
    with redis.Redis.from_url(stoppable_valkey.url) as client:
        seconds, micros = client.time()
        last = seconds * 1_000 + micros // 1_000 - round(SILENT_S * 1_000) - 100
        client.zadd(INQUIRERS.key, {"killed": last})
        await api.beat()
    assert (watched.count, watched.missing_s()) == (0, None), "a worker may be about to start"
    clock.now += SILENT_S + 4
    await api.beat()
    assert watched.missing_s() == 4 + SILENT_S


async def test_a_watch_knows_nothing_while_valkey_is_away(stoppable_valkey, process):
    clock = Clock()
    api = process(stoppable_valkey.url, "api", clock=clock)
    watched = api.watch(INQUIRERS)
    await api.beat()
    stoppable_valkey.kill()
    clock.now += 60
    with pytest.raises(UNREACHABLE):
        await api.beat()
    assert watched.missing_s() is None
