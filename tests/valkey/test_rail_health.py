"""What one process sees of a rail, all know; without Valkey each goes by what it sees."""

import contextlib

from synccash.engine.dispatch.rail_health import RailHealth
from synccash.payments.health import HealthAspect, HealthSettings
from synccash.payments.payer import Network
from synccash.payments.rail import Operation
from synccash.stores.valkey.rail_health import SharedRailHealth
from synccash.stores.valkey.session import open_session

KEY = ("mtn_momo", "mtn", "collect")


class Process:
    def __init__(self, session):
        self.session = session
        self.at = 100.0
        self.health = RailHealth(HealthSettings(), lambda: self.at)
        self.shut = {}
        self.shared = SharedRailHealth(
            session, self.health.own_samples, lambda: self.shut, self.health.set_peer_samples, self.health.now
        )

    def saw(self, bad):
        for _ in range(bad):
            self.health.record(KEY, HealthAspect.SEND, bad=1.0)

    @property
    def score(self):
        self.at += 0.1
        return self.health.of("mtn_momo", Network.MTN, Operation.COLLECT).score


@contextlib.asynccontextmanager
async def fleet(url, *names):
    async with contextlib.AsyncExitStack() as stack:
        yield [
            Process(await stack.enter_async_context(open_session(url, name, deadline_s=1.0)))
            for name in names
        ]


async def exchange(*processes):
    """The first round registers the processes, the second one lets all know of all."""
    for _ in range(3):
        for process in processes:
            await process.session.presence.beat()
            await process.shared.exchange()


async def test_what_one_process_sees_all_know_and_add_up(valkey_url):
    async with fleet(valkey_url, "a", "b", "c") as (one, another, third):
        one.saw(12)
        another.saw(12)
        await exchange(one, another, third)
        assert third.score < one.health.settings.degraded_below
        assert abs(one.score - another.score) < 0.01
        assert abs(one.score - third.score) < 0.01
        assert (one.health.live, third.health.live) == (3, 3)


async def test_what_a_process_that_left_has_told_is_forgotten(valkey_url):
    async with fleet(valkey_url, "a", "b") as (one, another):
        one.saw(50)
        await exchange(one, another)
        assert another.score < 0.8
        await one.shared.close()
        await exchange(another)
        assert (another.score, another.health.live) == (1.0, 1)


async def test_what_cannot_be_read_is_not_known(valkey_url):
    async with fleet(valkey_url, "a", "b") as (one, another):
        one.saw(50)
        await exchange(one)
        await one.session.client.set("synccash:rail_health:instance:a", b'{"signals": 7}')
        await exchange(another)
        assert another.score == 1.0


async def test_without_valkey_a_process_goes_by_what_it_sees(stoppable_valkey):
    async with fleet(stoppable_valkey.url, "a", "b") as (one, another):
        one.saw(50)
        another.saw(50)
        await exchange(one, another)
        together = another.score
        stoppable_valkey.kill()
        await another.shared.exchange()
        assert together < another.score < 0.8
        assert another.health.live == 1
