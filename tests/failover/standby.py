"""One promotion of a standby under load, with synchronous and with asynchronous replication.

Run it with `make test-standby`; `make failover` repeats it ten times and prints the times.
"""

import asyncio

import pytest

from failover.promotions import installation, promote_under_load
from failover.standby_pair import Pair, standby_pair
from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.database import Database, InDoubtError
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.migrations import migrate


def test_with_synchronous_replication_nothing_is_lost_and_sends_go_on_by_themselves():
    with installation(synchronous=True) as (pair, running, url):
        found = promote_under_load(pair, running, url, first=0)
    assert (found.lost, found.doubled, found.unpaid, found.held) == (0, 0, 0, False), found


def test_with_asynchronous_replication_the_loss_holds_all_sends_and_is_repaired():
    with installation(synchronous=False) as (pair, running, url):
        found = promote_under_load(pair, running, url, first=0)
        told = [line for line in running.printed() if "acknowledged_commits_lost" in line]
    assert found.lost > 0, "the standby was not behind, so the test proves nothing"
    assert (found.doubled, found.unpaid, found.held) == (0, 0, True), found
    assert told, "no process told that commits are lost"


def test_a_commit_that_the_standby_lacks_is_not_confirmed_although_it_can_be_read():
    with standby_pair(synchronous=True) as pair:
        migrate(pair.owner_url)
        assert pair.standby.server is not None
        pair.standby.server.stop()
        asyncio.run(commit_without_the_standby(pair))
        pair.start(pair.standby)
        asyncio.run(confirm(pair))


async def commit_without_the_standby(pair: Pair) -> None:
    """A time-out ends the wait for the standby, and then the commit can be read."""
    pool = await connect(pair.owner_url, min_size=0, max_size=2)
    try:
        database = Database(pool)
        with pytest.raises(InDoubtError):
            await database.commit("INSERT INTO merchants (id, name) VALUES ('mer_1', 'x')")
        assert await database.repeat("SELECT id FROM merchants WHERE id = 'mer_1'")
        with pytest.raises(StoreUnavailableError):
            await database.confirm_durable()
    finally:
        await pool.close()


async def confirm(pair: Pair) -> None:
    pool = await connect(pair.owner_url, min_size=0, max_size=1)
    try:
        await Database(pool).confirm_durable()
    finally:
        await pool.close()
