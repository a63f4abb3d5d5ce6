"""A decision on an order and its entry of the audit log: both are written, once, or neither is."""

from dataclasses import replace

import pytest

from order_store_contract import commit, opened, read, refunding, succeeded
from stores.postgres_world import PostgresWorld
from synccash.payments.audit import AuditNote
from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.pool import Pool

NOTE = AuditNote(actor="operator:ama", action="payment_resolve", target="pay_1", reason="statement line 7")
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION refuse();
"""
DIE_ONCE = """
CREATE SEQUENCE tries;
CREATE FUNCTION die_once() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF nextval('tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL;
    END $$;
CREATE TRIGGER die_once AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION die_once();
"""


async def entries(pool: Pool) -> list[tuple[str, str, str]]:
    found = await pool.fetch("SELECT actor, action, target FROM audit ORDER BY position")
    return [tuple(row) for row in found]


async def test_a_commit_is_written_with_its_entry_and_repeated_without(world: PostgresWorld, pool: Pool):
    case = await opened(world)
    decided = commit(case)
    assert await world.order_store.record(decided, NOTE)
    assert not await world.order_store.record(decided, NOTE), "as after a lost answer"
    assert await entries(pool) == [("operator:ama", "payment_resolve", "pay_1")]
    assert (await read(world, case)).order.version == case.order.version + 1


async def test_a_refund_is_decided_with_its_entry(world: PostgresWorld, pool: Pool):
    case = await refunding(world, await succeeded(world), 1, 10)
    assert await world.order_store.record(commit(case), replace(NOTE, target="re_1"))
    assert [target for _, _, target in await entries(pool)] == ["re_1"]


async def test_a_commit_that_came_too_late_leaves_no_entry(world: PostgresWorld, pool: Pool):
    case = await opened(world)
    assert await world.order_store.record(commit(case))
    assert not await world.order_store.record(commit(case, id="mv_late"), NOTE)
    assert await entries(pool) == []


async def test_a_commit_without_its_entry_is_not_written(world: PostgresWorld, pool: Pool):
    case = await opened(world)
    await pool.execute(REFUSE)
    with pytest.raises(StoreUnavailableError):
        await world.order_store.record(commit(case), NOTE)
    assert (await read(world, case)).order == case.order


async def test_a_connection_that_dies_between_the_two_leaves_neither_and_both_are_repeated(
    world: PostgresWorld, pool: Pool
):
    case = await opened(world)
    await pool.execute(DIE_ONCE)
    assert await world.order_store.record(commit(case), NOTE)
    assert len(await entries(pool)) == 1
    assert (await read(world, case)).order.version == case.order.version + 1
