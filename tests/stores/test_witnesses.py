"""When the processes prove that a failover has lost nothing, and when sends stay held."""

from dataclasses import dataclass

import pytest_asyncio

from stores.postgres_world import PostgresWorld
from synccash.engine.acknowledged_commits import KEPT_S, AcknowledgedCommits
from synccash.engine.recovery_watch import FailoverWitness
from synccash.payments.recovery import Recovery
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery
from synccash.stores.postgres.orders.witnesses import PostgresWitnesses

FAILOVER = "UPDATE recovery SET timeline = '0000000F'"
SYNCHRONOUS = "UPDATE witnesses SET synchronous = true WHERE synchronous IS NOT NULL"
ORDER = """
INSERT INTO payments (id, merchant_id, livemode, reference, amount, currency, payer_msisdn, created_at,
    updated_at, expires_at, status, amount_received, amount_refunded, attempt_count, metadata,
    routing, version, fence, due_at, move_id)
VALUES ($1, 'm_1', false, $1, 1000, 'GHS', '233241234567', now(), now(), now(), 'processing', 0, 0, 1, '{}',
    '{}', $2, 1, now(), $1)
"""


@dataclass
class Cluster:
    """The processes of a service, and the server that they use."""

    world: PostgresWorld
    now: float = 0.0

    @property
    def database(self) -> Database:
        return Database(self.world.pool)

    def process(self, name: str) -> FailoverWitness:
        acknowledged = AcknowledgedCommits(lambda: self.now)
        return FailoverWitness(PostgresWitnesses(self.database), name, acknowledged)

    async def recovery(self) -> Recovery:
        return await PostgresRecovery(self.database).recovery()

    async def look(self, *processes: FailoverWitness) -> Recovery:
        """Each process looks once, as it does every second; return what the last one leaves."""
        for process in processes:
            await process.give(await self.recovery())
        return await self.recovery()

    async def synchronous(self) -> None:
        """The test's server has no standby, so its record has to say that it had one."""
        await self.world.pool.execute(SYNCHRONOUS)

    async def fails_over(self) -> None:
        await self.world.pool.execute(FAILOVER)


@pytest_asyncio.fixture
async def cluster(world: PostgresWorld) -> Cluster:
    await world.pool.execute("INSERT INTO merchants (id, name) VALUES ('m_1', 'm_1')")
    return Cluster(world)


async def test_when_every_process_finds_its_commits_sends_go_on_and_nothing_is_searched_for(cluster: Cluster):
    one, two = cluster.process("proc_1"), cluster.process("proc_2")
    await cluster.look(one, two)
    await cluster.synchronous()
    await cluster.world.pool.execute(ORDER, "pay_1", 3)
    one.acknowledged.note("pay_1", 2)
    one.acknowledged.note("pay_1", 3)
    await cluster.fails_over()
    assert await cluster.look(one) == Recovery(epoch=1, active=True), "the other process has not looked yet"
    assert await cluster.look(two) == Recovery(epoch=0, active=False)
    deeds = await cluster.world.pool.fetch("SELECT actor, action FROM audit ORDER BY position")
    assert [deed["action"] for deed in deeds] == ["recovery_start", "recovery_confirm"]


async def test_a_process_that_misses_a_commit_keeps_sends_held_and_names_the_order(cluster: Cluster):
    one, two = cluster.process("proc_1"), cluster.process("proc_2")
    await cluster.look(one, two)
    await cluster.synchronous()
    await cluster.world.pool.execute(ORDER, "pay_1", 1)
    one.acknowledged.note("pay_1", 1)
    two.acknowledged.note("pay_1", 2)
    two.acknowledged.note("pay_2", 1)
    await cluster.fails_over()
    assert (await cluster.look(one, two, one, two)).active
    assert (sorted(one.lost), sorted(two.lost)) == ([], ["pay_1", "pay_2"])


async def test_commits_that_did_not_wait_for_a_standby_prove_nothing(cluster: Cluster):
    one = cluster.process("proc_1")
    await cluster.look(one)
    await cluster.fails_over()
    assert (await cluster.look(one, one)).active


async def test_a_process_that_ended_with_the_primary_keeps_sends_held(cluster: Cluster):
    one, ended = cluster.process("proc_1"), cluster.process("proc_2")
    await cluster.look(one, ended)
    await cluster.synchronous()
    await cluster.fails_over()
    assert (await cluster.look(one, one)).active


async def test_a_process_that_ended_long_before_or_took_leave_is_not_waited_for(cluster: Cluster):
    one, killed, stopped = (cluster.process(f"proc_{number}") for number in (1, 2, 3))
    await cluster.look(one, killed, stopped)
    await stopped.end()
    await cluster.synchronous()
    await cluster.world.pool.execute(
        "UPDATE witnesses SET seen_at = seen_at - interval '61 s' WHERE process = 'proc_2'"
    )
    await cluster.fails_over()
    assert not (await cluster.look(one)).active


async def test_a_process_that_started_afterwards_is_no_witness(cluster: Cluster):
    await cluster.fails_over()
    assert (await cluster.look(cluster.process("proc_1"), cluster.process("proc_2"))).active


async def test_a_process_that_started_during_a_recovery_counts_once_it_has_looked_again(cluster: Cluster):
    one = cluster.process("proc_1")
    await cluster.look(one)
    await cluster.synchronous()
    await cluster.fails_over()
    new = cluster.process("proc_2")
    await cluster.look(new)
    await cluster.look(one)
    assert not (await cluster.recovery()).active
    # Until it has looked, it is not known whether its commits wait for a standby.
    await cluster.fails_over()
    assert (await cluster.look(one, new)).active


async def test_a_recovery_that_an_operator_began_is_ended_by_an_operator(cluster: Cluster):
    one = cluster.process("proc_1")
    await cluster.look(one)
    await cluster.synchronous()
    await PostgresRecovery(cluster.database).start(by="ama", reason="restored to 14:05")
    assert (await cluster.look(one, one)).active


def test_commits_are_kept_for_as_long_as_a_statement_may_take():
    now = 0.0
    acknowledged = AcknowledgedCommits(lambda: now)
    acknowledged.note("pay_1", 1)
    now = KEPT_S
    acknowledged.note("pay_2", 1)
    acknowledged.note("pay_2", 2)
    assert acknowledged.latest() == [("pay_1", 1), ("pay_2", 2)]
    now = 2 * KEPT_S + 1
    acknowledged.note("pay_3", 1)
    assert acknowledged.latest() == [("pay_3", 1)]
