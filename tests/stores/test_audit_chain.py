"""The audit log is append-only, and its chain of digests finds what somebody with all rights has changed."""

import asyncio

import asyncpg
import pytest
import pytest_asyncio

from synccash.payments.audit import AuditNote
from synccash.payments.errors import StoreUnavailableError
from synccash.settings.secret import Secret
from synccash.stores.postgres.audit import AuditFilter, PostgresAudit, change_with_note
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations import audit_chain
from synccash.stores.postgres.operations.audit_chain import AuditKey, PostgresAuditChain

KEY, OTHER_KEY = AuditKey(Secret("k" * 32)), AuditKey(Secret("o" * 32))


@pytest_asyncio.fixture
async def audit(pool):
    return PostgresAudit(Database(pool))


@pytest.fixture
def chain(audit):
    return PostgresAuditChain(audit.database)


async def write(audit, *targets):
    for target in targets:
        await audit.write(
            AuditNote(actor="operator:ama", action="key_revoke", target=target, details={"why": "tests"})
        )


async def as_owner(pool, *statements):
    """Run statements as somebody who has all rights does: with the triggers switched off."""
    async with pool.acquire() as connection, connection.transaction():
        for table in ("audit", "audit_seals"):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            await connection.execute(statement)
        for table in ("audit", "audit_seals"):
            await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def test_a_log_that_nobody_has_touched_is_verified(audit, chain):
    await write(audit, "one", "two")
    assert [(seal.seq, seal.row_count) for seal in await chain.seal()] == [(1, 2)]
    assert await chain.seal() == []
    await write(audit, "three")
    [seal] = await chain.seal()
    await write(audit, "four")
    report = await chain.verify()
    assert (report.problems, report.entries, report.seals, report.unsealed) == ([], 3, 2, 1)
    assert report.head == seal.head
    assert (await chain.verify(seal.head)).problems == []


async def test_an_empty_log_is_verified(chain):
    assert await chain.seal() == []
    report = await chain.verify()
    assert (report.problems, report.head) == ([], None)


@pytest.mark.parametrize("table", ["audit", "audit_seals"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}", "DELETE FROM {} WHERE false"]
)
async def test_rows_are_neither_changed_nor_removed(audit, chain, pool, table, statement):
    await write(audit, "one")
    await chain.seal()
    column = "reason" if table == "audit" else "key_id"
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await pool.execute(statement.format(table, column, column))
    assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 1


INSERT = "INSERT INTO audit (position, actor, action, target, reason) OVERRIDING SYSTEM VALUE VALUES"


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (["UPDATE audit SET actor = 'operator:kofi' WHERE position = 3"], "entry 3 was altered"),
        (["UPDATE audit SET at = at - interval '1 us' WHERE position = 3"], "entry 3 was altered"),
        (["UPDATE audit SET details = '{}' WHERE position = 3"], "entry 3 was altered"),
        (["UPDATE audit SET request_id = 'req_1' WHERE position = 3"], "entry 3 was altered"),
        (["UPDATE audit SET merchant_id = 'm_1' WHERE position = 3"], "entry 3 was altered"),
        (["UPDATE audit SET reason = 'x' WHERE position = 3"], "entry 3 was altered"),
        (["DELETE FROM audit WHERE position = 3"], "entry 3 was removed"),
        (["DELETE FROM audit WHERE position = 1"], "entry 1 was removed"),
        (["DELETE FROM audit WHERE position = 6"], "entry 6 was removed"),
        (["DELETE FROM audit WHERE position = 3", f"{INSERT} (3, 'a', 'b', 'c', '')"], "entry 3 was altered"),
        ([f"{INSERT} (0, 'a', 'b', 'c', '')"], "entry 0 was inserted"),
        ([f"{INSERT} (-5, 'a', 'b', 'c', '')"], "entry -5 was inserted"),
        (["DELETE FROM audit_seals WHERE seq = 1"], "seal 1 is missing"),
        (["DELETE FROM audit_seals WHERE seq = 2"], "seal 2 is missing"),
        (["UPDATE audit_seals SET digest = sha256('x') WHERE seq = 2"], "seal 2 does not match"),
        (["UPDATE audit_seals SET sealed_at = now() WHERE seq = 2"], "seal 2 does not match"),
        (["UPDATE audit_seals SET row_count = 7 WHERE seq = 3"], "seal 3 does not match"),
        (["UPDATE audit_seals SET previous_digest = sha256('x') WHERE seq = 3"], "seal 3 does not follow"),
        (["UPDATE audit_seals SET row_index = '' WHERE seq = 3"], "entry 5 was inserted"),
        (["UPDATE audit_seals SET first_position = 4 WHERE seq = 2"], "does not begin where"),
    ],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
async def test_what_an_owner_changes_is_named(audit, pool, key, statements, problem):
    chain = PostgresAuditChain(audit.database, key)
    for targets in (("one", "two"), ("three", "four"), ("five", "six")):
        await write(audit, *targets)
        await chain.seal()
    assert (await chain.verify()).problems == []
    await as_owner(pool, *statements)
    problems = (await chain.verify()).problems
    assert problem in problems[0], problems


async def test_a_log_that_was_cut_off_is_found_by_a_head_noted_elsewhere(audit, chain, pool):
    await write(audit, "one")
    await chain.seal()
    await write(audit, "two")
    [head] = await chain.seal()
    await as_owner(pool, "DELETE FROM audit WHERE position = 2", "DELETE FROM audit_seals WHERE seq = 2")
    assert (await chain.verify()).problems == []
    assert "does not exist" in (await chain.verify(head.head)).problems[0]


async def test_a_log_written_anew_without_the_key_is_found(audit, pool):
    chain = PostgresAuditChain(audit.database, KEY)
    await write(audit, "one", "two")
    await chain.seal()
    await as_owner(
        pool, "UPDATE audit SET actor = 'operator:kofi' WHERE position = 1", "DELETE FROM audit_seals"
    )
    for forger in (None, OTHER_KEY):
        await as_owner(pool, "DELETE FROM audit_seals")
        await PostgresAuditChain(audit.database, forger).seal()
        assert "not made with the key" in (await chain.verify()).problems[-1]


async def test_a_key_is_introduced_and_replaced(audit):
    await write(audit, "one")
    await PostgresAuditChain(audit.database).seal()
    keyed = PostgresAuditChain(audit.database, KEY)
    assert "not made with the key" in (await keyed.verify()).problems[0]
    # Without a new entry: from this seal on, none without the key is accepted.
    assert [seal.row_count for seal in await keyed.seal()] == [0]
    report = await keyed.verify()
    assert (report.problems, report.without_key) == ([], 1)
    replaced = PostgresAuditChain(audit.database, OTHER_KEY, KEY)
    await replaced.seal()
    assert (await replaced.verify()).problems == []
    assert "neither" in (await PostgresAuditChain(audit.database, OTHER_KEY).verify()).problems[0]
    await write(audit, "two")
    await PostgresAuditChain(audit.database).seal()
    assert "without a key" in (await replaced.verify()).problems[0]


async def test_entries_that_stay_without_a_seal_are_a_problem(audit, chain, pool):
    await write(audit, "one")
    await as_owner(pool, "UPDATE audit SET at = now() - interval '20 minutes'")
    assert "has no seal" in (await chain.verify()).problems[0]


async def test_a_seal_waits_for_a_transaction_that_has_a_lower_position(audit, chain, pool):
    await write(audit, "before")
    async with pool.acquire() as connection:
        running = connection.transaction()
        await running.start()
        await connection.execute(
            "INSERT INTO audit (actor, action, target, reason) VALUES ('a', 'b', 'c', '')"
        )
        assert await chain.seal() == []
        later = asyncio.create_task(write(audit, "later"))
        await later
        assert await chain.seal() == []
        await running.commit()
    [seal] = await chain.seal()
    assert (seal.row_count, seal.last_position) == (3, 3)
    assert (await chain.verify()).problems == []


async def test_positions_of_transactions_that_were_rolled_back_are_no_gap(audit, chain, pool):
    await write(audit, "one")
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO audit (actor, action, target, reason) VALUES ('a', 'b', 'c', '')"
        )
        await transaction.rollback()
    await write(audit, "two")
    [seal] = await chain.seal()
    assert (seal.row_count, seal.last_position) == (2, 3)
    assert (await chain.verify()).problems == []


async def test_a_sealer_that_dies_leaves_its_entries_to_the_next(audit, chain, pool):
    await write(audit, "one", "two")
    await pool.execute("""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE TRIGGER die AFTER INSERT ON audit_seals FOR EACH ROW EXECUTE FUNCTION die();
    """)
    with pytest.raises(StoreUnavailableError):
        await chain.seal()
    await pool.execute("DROP TRIGGER die ON audit_seals")
    assert await pool.fetchval("SELECT count(*) FROM audit_seals") == 0
    await write(audit, "three")
    assert [(seal.seq, seal.row_count) for seal in await chain.seal()] == [(1, 3)]
    assert (await chain.verify()).problems == []


async def test_many_writers_and_sealers_leave_one_chain(audit, chain, pool, monkeypatch):
    monkeypatch.setattr(audit_chain, "BATCH", 7)

    async def writer(number):
        for at in range(10):
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "INSERT INTO audit (actor, action, target, reason) VALUES ($1, 'b', $2, '')",
                    f"w{number}",
                    str(at),
                )
                await connection.fetchval("SELECT pg_sleep($1)", (number * 7 + at * 3) % 5 / 1_000)

    async def sealer():
        while not done.done():
            await chain.seal()

    done = asyncio.gather(*map(writer, range(4)))
    await asyncio.gather(sealer(), sealer(), done)
    await chain.seal()
    report = await chain.verify()
    assert (report.problems, report.entries, report.unsealed) == ([], 40, 0)


async def test_a_change_and_its_entry_are_committed_together(audit, pool):
    database = audit.database
    await pool.execute("CREATE TABLE things (id int PRIMARY KEY, price int CHECK (price > 0))")
    await pool.execute("INSERT INTO things VALUES (1, 10)")
    note = AuditNote(actor="operator:ama", action="price", target="1")
    changed = "UPDATE things SET price = $2 WHERE id = $1 RETURNING id"
    assert await change_with_note(database, note, changed, 1, 12)
    assert len(await audit.latest(10)) == 1
    assert await change_with_note(database, note, changed, 2, 12) == []
    with pytest.raises(asyncpg.CheckViolationError):
        await change_with_note(database, note, changed, 1, 0)
    # The entry cannot be written: the change is not made either.
    with pytest.raises(asyncpg.NotNullViolationError):
        await change_with_note(database, AuditNote(actor=None, action="a", target="1"), changed, 1, 99)
    assert await pool.fetchval("SELECT price FROM things") == 12
    assert len(await audit.latest(10)) == 1


async def test_numbers_in_entries_are_masked(audit):
    await audit.write(
        AuditNote(
            actor="operator:ama",
            action="payments_read",
            target="user:0241234567/payment_initiation",
            reason="called +233241234567",
            details={"wallet": "233241234567", "more": ["0551234567"]},
        )
    )
    [entry] = await audit.latest(1)
    assert "1234567" not in repr(entry)
    assert entry.document()["details"]["wallet"] == "23324****567"


async def test_entries_are_filtered(audit):
    await write(audit, "one", "two", "one")
    first, second, third = reversed(await audit.latest(10))
    assert [one.position for one in await audit.latest(10, AuditFilter(target="one"))] == [3, 1]
    assert await audit.latest(10, AuditFilter(actor="operator:kofi")) == []
    assert await audit.latest(10, AuditFilter(action="key_revoke", before=third.position)) == [second, first]
    assert await audit.latest(10, AuditFilter(since=second.at)) == [third, second]
