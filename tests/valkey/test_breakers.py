"""Breakers of several processes over one Valkey: what travels, what is believed, and life without Valkey."""

import asyncio
import json

import pytest
import redis

from breaker_peers import FAILURES, NAME, all_are, breaker_peers, until
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey.breakers import scripts as script
from synccash.stores.valkey.breakers.probe_lease import START_S, ProbeLease


def seconds_left(member):
    return member.breaker.retry_after()


async def test_what_one_sees_opens_all_for_the_time_that_is_left(valkey_url):
    async with breaker_peers(valkey_url, 3) as found:
        found[0].fail()
        await all_are(found, "open")
        assert all(50 < seconds_left(member) < 61 for member in found)
        assert found[1].breaker.reason.startswith("4 failures in a row")
        assert found[1].breaker.reason.endswith(" (in another process)")
        seen = await until_async(lambda: found[1].view.one(NAME), lambda one: len(one["instances"]) == 3)
        assert (seen["state"], {one["instance"] for one in seen["instances"]}) == ("open", {"p0", "p1", "p2"})


async def until_async(ask, enough):
    """The reports of peers arrive when they do."""
    async with asyncio.timeout(30):
        while not enough(found := await ask()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def test_who_comes_later_opens_too_and_with_the_same_round(valkey_url):
    async with breaker_peers(valkey_url, 1) as [first]:
        first.fail()
        first.clock.ahead_s = 60.0
        ticket = await until(first.enter)
        first.breaker.record(ticket, Outcome.FAILED, 0.1)
        await until(lambda: kept(valkey_url).get("till_in_s", 0) > 100)
        async with breaker_peers(valkey_url, 1, name="q") as [later]:
            await all_are([later], "open")
            assert 100 < seconds_left(later) < 121
            assert later.breaker.statistics().rounds == 2


def kept(url):
    """What Valkey keeps of the open breaker, and for how long it will be open."""
    with redis.Redis.from_url(url) as client:
        news = json.loads(client.hget(script.OPEN, NAME) or "{}")
        seconds, micros = client.time()
    if news:
        news["till_in_s"] = news["till_ms"] / 1_000 - seconds - micros / 1_000_000
    return news


async def test_a_reset_and_a_forced_open_reach_all(valkey_url):
    async with breaker_peers(valkey_url, 3) as found:
        found[0].fail()
        await all_are(found, "open")
        await found[2].view.reset(NAME, "by hand")
        await all_are(found, "closed")
        await found[1].view.force_open(NAME, "maintenance")
        await all_are(found, "forced_open")
        assert {member.breaker.reason for member in found} == {"maintenance"}


async def test_a_forced_open_survives_all_processes_until_its_reset(valkey_url):
    async with breaker_peers(valkey_url) as found:
        await found[0].view.force_open(NAME, "maintenance")
        await all_are(found, "forced_open")
    async with breaker_peers(valkey_url, name="q") as found:
        await all_are(found, "forced_open")
        await found[1].view.reset(NAME, "over")
        await all_are(found, "closed")


async def test_as_a_hint_a_peers_open_halves_the_failures_that_it_takes_for_as_long(valkey_url):
    async with breaker_peers(valkey_url, peer_open="hint") as found:
        first, second = found
        first.fail()
        await until(lambda: kept(valkey_url))
        await heard(valkey_url, second)
        assert (first.state, second.state) == ("open", "closed")
        second.fail(FAILURES // 2 - 1)
        assert second.state == "closed"
        second.fail(1)
        assert second.state == "open"

        await second.view.reset(NAME, "by hand")
        await all_are(found, "closed")
        first.fail()
        await until(lambda: kept(valkey_url))
        await heard(valkey_url, second)
        second.clock.ahead_s = 61.0
        second.fail(FAILURES // 2)
        assert second.state == "closed", "the peer's open time is over"


def publish(url, news):
    with redis.Redis.from_url(url) as client:
        client.publish(script.CHANNEL, json.dumps(news))


def opened(number, *, version=0, till_in_s=30.0, instance="other", url):
    with redis.Redis.from_url(url) as client:
        seconds, micros = client.time()
    till_ms = seconds * 1_000 + micros / 1_000 + till_in_s * 1_000
    news = {"kind": "open", "name": NAME, "version": version, "reason": "down", "instance": instance}
    return {**news, "number": number, "till_ms": till_ms, "rounds": 1}


def closed(number, *, version=0, instance="other"):
    news = {"kind": "closed", "name": NAME, "version": version, "reason": "", "instance": instance}
    return {**news, "number": number, "till_ms": 0, "rounds": 0}


async def heard(url, member, *news):
    """Let the member hear all of these."""
    for one in news:
        publish(url, one)
    mark = f"mark{len(member.registry.breakers())}:collect"
    other = member.registry.breaker(mark)
    publish(url, {"kind": "forced", "name": mark, "version": 1, "reason": "mark", "instance": "judge"})
    await until(lambda: other.state.value == "forced_open")


async def test_news_of_one_process_that_overtook_each_other_end_with_the_newest(valkey_url):
    async with breaker_peers(valkey_url, 1) as [member]:
        await heard(valkey_url, member, closed(2), opened(1, url=valkey_url))
        assert member.state == "closed"
        await heard(valkey_url, member, opened(3, url=valkey_url))
        assert member.state == "open"
        await heard(valkey_url, member, closed(2))
        assert member.state == "open"
        await heard(valkey_url, member, closed(4))
        assert member.state == "closed"


async def test_news_that_come_after_their_time_open_nothing(valkey_url):
    async with breaker_peers(valkey_url, 1) as [member]:
        await heard(valkey_url, member, opened(1, till_in_s=-0.5, url=valkey_url))
        assert member.state == "closed"


async def test_what_was_seen_before_a_persons_action_changes_nothing_after_it(valkey_url):
    def act(kind, version):
        return {"kind": kind, "name": NAME, "version": version, "reason": kind, "instance": "other"}

    async with breaker_peers(valkey_url, 1) as [member]:
        await heard(valkey_url, member, act("reset", 5), opened(1, version=4, url=valkey_url))
        assert member.state == "closed"
        await heard(valkey_url, member, act("forced", 6), act("reset", 5), closed(2, version=5))
        assert (member.state, member.breaker.version) == ("forced_open", 6)
        await heard(valkey_url, member, act("reset", 7), opened(3, version=7, url=valkey_url))
        assert member.state == "open"


async def test_two_who_act_at_once_end_alike_with_the_later_one(valkey_url):
    async with breaker_peers(valkey_url) as found:
        await asyncio.gather(
            found[0].view.force_open(NAME, "shut it"), found[1].view.reset(NAME, "open it again")
        )
        await until(lambda: {member.breaker.version for member in found} == {2})
        assert len({member.state for member in found}) == 1


async def test_one_of_all_probes_and_its_success_closes_all(valkey_url):
    async with breaker_peers(valkey_url, 4) as found:
        found[0].fail()
        await all_are(found, "open")
        for member in found:
            member.clock.ahead_s = 61.0
        probing = await until(
            lambda: [(member, permit) for member in found if (permit := member.enter() or 0) < 0]
        )
        for _ in range(20):
            assert [member.enter() for member in found] == [None] * 4
            await asyncio.sleep(0)
        assert len(probing) == 1
        [(prober, permit)] = probing
        prober.breaker.record(permit, Outcome.OK, 0.001)
        await all_are(found, "closed")


async def test_a_prober_that_died_blocks_the_others_no_longer_than_its_lease(valkey_url):
    async with breaker_peers(valkey_url, 1) as [member]:
        member.fail()
        await until(lambda: kept(valkey_url))
        member.clock.ahead_s = 61.0
        with redis.Redis.from_url(valkey_url) as client:
            client.set(script.lease_key(NAME), "dead", px=300)
            assert member.enter() is None
            await until(lambda: (member.enter() or 0) < 0)
            assert client.get(script.lease_key(NAME)) == b"p0"


async def test_a_lease_that_no_call_came_for_is_given_back_and_the_next_call_goes_through(valkey_url):
    over = asyncio.Event()

    async def sleep(seconds):
        await (over.wait() if seconds == START_S else asyncio.sleep(seconds))

    async with breaker_peers(valkey_url, 1, sleep=sleep) as [member]:
        member.fail()
        await until(lambda: kept(valkey_url))
        member.clock.ahead_s = 61.0
        assert member.enter() is None, "it only begins to ask"
        with redis.Redis.from_url(valkey_url) as client:
            await until(lambda: client.get(script.lease_key(NAME)))
            over.set()
            await until(lambda: client.get(script.lease_key(NAME)) is None)
        assert (member.enter() or 0) < 0


async def test_a_lease_whose_probe_proved_nothing_is_given_back_to_those_who_have_calls(valkey_url):
    over = asyncio.Event()

    async def sleep(seconds):
        await (over.wait() if seconds == START_S else asyncio.sleep(seconds))

    async with breaker_peers(valkey_url, 2, sleep=sleep) as [first, second]:
        first.fail()
        await all_are([first, second], "open")
        for member in (first, second):
            member.clock.ahead_s = 61.0
        ticket = await until(first.enter)
        assert second.enter() is None
        first.breaker.release(ticket)
        over.set()
        assert await until(second.enter) < 0


async def test_a_lease_is_kept_while_its_probe_runs(valkey_url):
    over, looked = asyncio.Event(), asyncio.Event()

    async def sleep(seconds):
        if seconds == START_S:
            await over.wait()
        elif over.is_set() and seconds < START_S:
            looked.set()
            await asyncio.sleep(0.01)
        else:
            await asyncio.sleep(seconds)

    async with breaker_peers(valkey_url, 1, sleep=sleep) as [member]:
        member.fail()
        await until(lambda: kept(valkey_url))
        member.clock.ahead_s = 61.0
        ticket = await until(member.enter)
        over.set()
        await looked.wait()
        with redis.Redis.from_url(valkey_url) as client:
            assert client.get(script.lease_key(NAME))
            member.breaker.release(ticket)
            await until(lambda: client.get(script.lease_key(NAME)) is None)


def test_a_lapsed_lease_lets_one_call_through_while_it_is_asked_for_anew():
    asked, now = [], [0.0]
    lease = ProbeLease(lambda: asked.append(1), lambda: False, lambda: now[0])
    assert (lease(), lease(), len(asked)) == (False, False, 1)
    lease.requested = False
    lease.granted()
    lease.lapse()
    assert (lease(), lease(), len(asked)) == (True, False, 2)
    lease.requested = False
    lease.denied()
    assert (lease(), len(asked)) == (False, 2)
    now[0] = 0.25
    assert (lease(), len(asked)) == (False, 3)


async def test_healthy_calls_send_nothing(valkey_url):
    async with breaker_peers(valkey_url) as found:
        before = commands(valkey_url)
        for _ in range(1_000):
            found[0].breaker.record(found[0].breaker.acquire(), Outcome.OK, 0.001)
            await asyncio.sleep(0)
        assert commands(valkey_url) == before


def commands(url):
    with redis.Redis.from_url(url) as client:
        seen = client.info("commandstats")
    names = ("eval", "evalsha", "publish", "get", "set", "subscribe")
    return {name: seen.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names}


async def test_a_valkey_that_lost_everything_moves_no_breaker_and_gets_back_what_people_did(stoppable_valkey):
    async with breaker_peers(stoppable_valkey.url) as found:
        await found[0].view.force_open(NAME, "maintenance")
        await all_are(found, "forced_open")
        stoppable_valkey.restart()
        await until(lambda: all(not member.shared.connected for member in found))
        assert {member.state for member in found} == {"forced_open"}
        async with breaker_peers(stoppable_valkey.url, 1, name="q") as [newcomer]:
            await all_are([newcomer], "forced_open")


async def test_without_valkey_each_decides_alone_and_it_is_shared_again_without_a_restart(stoppable_valkey):
    async with breaker_peers(stoppable_valkey.url) as found:
        first, second = found
        stoppable_valkey.kill()
        await until(lambda: all(not member.shared.connected for member in found))
        first.fail()
        assert (first.state, second.state) == ("open", "closed")
        assert await first.shared.peers() == []
        await second.view.force_open(NAME, "by hand")
        stoppable_valkey.start()
        await all_are(found, "forced_open")
        await first.view.reset(NAME, "by hand")
        await all_are(found, "closed")
        second.fail()
        await all_are(found, "open")


async def test_without_valkey_a_half_open_breaker_probes_by_itself(stoppable_valkey):
    async with breaker_peers(stoppable_valkey.url) as found:
        found[0].fail()
        await all_are(found, "open")
        stoppable_valkey.kill()
        await until(lambda: all(not member.shared.connected for member in found))
        for member in found:
            member.clock.ahead_s = 61.0
        tickets = [member.enter() for member in found]
        assert all(ticket is not None and ticket < 0 for ticket in tickets), "each of them on its own"
        found[0].breaker.record(tickets[0], Outcome.OK, 0.001)
        found[1].breaker.record(tickets[1], Outcome.FAILED, 0.001)
        assert [member.state for member in found] == ["closed", "open"]


@pytest.mark.parametrize("probe", [Outcome.OK, Outcome.FAILED])
async def test_over_a_frozen_valkey_calls_are_decided_and_what_was_found_is_told_after_the_thaw(
    stoppable_valkey, probe
):
    async with breaker_peers(stoppable_valkey.url, deadline_s=0.2) as found:
        first, second = found
        first.fail()
        await all_are(found, "open")
        stoppable_valkey.freeze()
        for member in found:
            member.clock.ahead_s = 61.0
        ticket = await until(first.enter)
        first.breaker.record(ticket, probe, 0.001)
        assert first.state == ("closed" if probe is Outcome.OK else "open")
        stoppable_valkey.thaw()
        await all_are([second], first.state)


UNREADABLE = [
    b"no json",
    b"[1]",
    b'{"kind": "open"}',
    b'"\xff"',
    b'{"name": 1, "kind": "forced", "version": "x"}',
]


async def test_what_cannot_be_read_ends_nothing_and_gives_way_to_a_persons_action(valkey_url):
    with redis.Redis.from_url(valkey_url) as client:
        client.hset(script.MANUAL, mapping={NAME: UNREADABLE[0], "other:collect": UNREADABLE[1]})
        client.hset(script.OPEN, mapping={NAME: UNREADABLE[2]})
        async with breaker_peers(valkey_url) as found:
            for news in UNREADABLE:
                client.publish(script.CHANNEL, news)
            found[0].fail()
            await all_are(found, "open")
            await found[0].view.reset(NAME, "by hand")
            await all_are(found, "closed")
            client.hset(script.instance_key("p1"), mapping={NAME: UNREADABLE[1], "x": UNREADABLE[3]})
            seen = await found[0].view.one(NAME)
            assert seen["state"] == "closed"
