"""Payments avoid a degraded rail and return to it, in virtual time, without a second prompt to any payer."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from sim.book import Faults
from sim.judge import verdict
from sim.world import HORIZON_S, PROFILES, Scenario, World, logs_into
from synccash.payments.rail import Operation

SICK = Faults(lost_request=0.2, refused_later=0.3, until_s=60.0)
RATE = 5.0


class Stream(World):
    """A world with `RATE` payments a second."""

    def run(self) -> None:
        for number in range(self.scenario.payments):
            self.loop.call_later(number / RATE, self._client, self._buys(number))
        self._clients += self.scenario.payments
        with logs_into(self.errors):
            self.loop.run(self._at_rest, until=HORIZON_S)
            self.loop.bury()
        self.errors.extend(str(failure) for failure in self.loop.failures)

    async def _buys(self, number: int) -> None:
        self._clients -= 1
        await self._buyer(number)

    def first_tries(self, begin: float, end: float) -> Counter[str]:
        """To which rail the payments made in this period went first, in shares of them."""
        rows = self.order_store.rows.values()
        first = [min(row.attempts.values(), key=lambda a: a.sequence) for row in rows if row.attempts]
        counted = Counter(a.rail for a in first if begin <= self.seconds(a.started_at) < end)
        return Counter({rail: count / counted.total() for rail, count in counted.items()})

    def seconds(self, at: Any) -> float:
        return (at - self.clock.now()).total_seconds() + self.loop.time()


@pytest.fixture(scope="module")
def stream() -> Stream:
    stream = Stream(Scenario(seed=7, rails=(SICK, Faults()), nodes=2, payments=1_200))
    stream.run()
    return stream


def test_the_share_of_a_degraded_rail_falls_and_recovers(stream: Stream):
    sick = stream.first_tries(20.0, 60.0)
    assert sick["rail_0"] < 0.12, sick
    well = stream.first_tries(200.0, 240.0)
    assert well["rail_0"] > 0.95, well


def test_a_degraded_rail_gets_only_occasional_probes(stream: Stream):
    tried = [at for at in stream.rails["rail_0"].sent_at(Operation.COLLECT) if 20.0 <= at < 60.0]
    assert 2 <= len(tried) <= 40, len(tried)


def test_avoiding_a_degraded_rail_opens_no_second_attempt_while_the_first_is_open(stream: Stream):
    assert verdict(stream) == []
    histories = [
        sorted(row.attempts.values(), key=lambda a: a.sequence) for row in stream.order_store.rows.values()
    ]
    assert sum(len(attempts) > 1 for attempts in histories) > 5, "too few failovers to prove anything"
    for attempts in histories:
        for before, after in pairwise(attempts):
            assert before.state.is_dead, before
            assert after.rail != before.rail or before.state.value == "not_sent"


def test_with_every_breaker_open_one_payment_a_period_is_tried_and_the_others_are_held():
    gone = Faults(down=((0.0, 90.0),), until_s=0.0)
    stream = Stream(Scenario(seed=3, rails=(gone, gone), nodes=1, payments=100, expires_in_s=300))
    stream.run()
    assert verdict(stream) == []
    open_s = PROFILES["*"].breaker.open_s
    for rail in stream.rails.values():
        probes = [at for at in rail.sent_at(Operation.COLLECT) if 15.0 <= at < 90.0]
        assert 2 <= len(probes) <= 75 / open_s, probes
        assert all(after - before >= open_s for before, after in pairwise(probes)), probes
    reasons = [[e.data.get("reason") for e in row.timeline] for row in stream.order_store.rows.values()]
    assert sum("all_breakers_open" in told for told in reasons) > 90
    assert all(row.order.status.value == "succeeded" for row in stream.order_store.rows.values())
