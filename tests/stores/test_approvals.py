"""Approvals from before their encryption, and processes of the release before it beside new ones."""

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from encryption_samples import ENCRYPTION, ROTATED
from stores.canary import world_of
from stores.postgres_world import PostgresWorld
from synccash.payments.access import OperatorRole
from synccash.payments.approval import Action, Approval, ApprovalStatus, Execution
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.resealing import PostgresResealing
from synccash.stores.postgres.pool import Pool

PARAMETERS = {"livemode": False, "currency": "GHS", "amount": 2500, "key": None}

# The statements of the release before the encryption.
FORMER_APPROVE = """
UPDATE approvals a SET status = 'approved', decided_by = coalesce(a.decided_by, $2),
    decided_at = coalesce(a.decided_at, now()), decision_reason = coalesce(a.decision_reason, $3),
    execute_until = now() + make_interval(secs => $4)
WHERE id = $1 AND requested_by <> $2 AND (
    (status = 'pending' AND expires_at > now() AND EXISTS (
        SELECT FROM operators o WHERE 'operator:' || o.name = a.requested_by AND o.disabled_at IS NULL
            AND o.role = ANY($5::text[])
    ))
    OR (status = 'approved' AND execute_until <= now())
) AND EXISTS (
    SELECT FROM operators o WHERE 'operator:' || o.name = $2 AND o.disabled_at IS NULL
        AND o.password_hash IS NOT NULL AND o.role IN ('operator', 'admin')
)
RETURNING id, parameters::text AS parameters
"""
FORMER_DECLINE = """
UPDATE approvals SET status = 'declined', decided_by = $2, decided_at = now(), decision_reason = $3
WHERE id = $1 AND (status = 'pending' OR (status = 'approved' AND execute_until <= now()))
RETURNING id
"""
FORMER_READ = (
    "SELECT parameters::text AS parameters, reason, decision_reason, failure FROM approvals WHERE id = $1"
)


def approvals(pool: Pool, encryption: Encryption | None) -> PostgresApprovals:
    return PostgresApprovals(Database(pool, encryption=encryption))


@pytest_asyncio.fixture(autouse=True)
async def operators(pool: Pool) -> None:
    for name in ("ama", "kofi", "esi"):
        await pool.execute(
            "INSERT INTO operators (id, name, role, password_hash, totp_secret, created_by) "
            "VALUES ($1, $1, 'admin', 'a hash', 'a secret', 'a test')",
            name,
        )


async def requested(store: PostgresApprovals, parameters: Mapping[str, Any] = PARAMETERS) -> Approval:
    action = Action(name="balance_credit", target="mer_1", parameters=parameters, reason="prefunded")
    return await store.add("apr_1", action, by="operator:ama", valid_s=60.0)


async def approved(store: PostgresApprovals, by: str, reason: str, execute_s: float = 0.0) -> Approval | None:
    return await store.approve("apr_1", by=by, reason=reason, execute_s=execute_s, role=OperatorRole.ADMIN)


async def reseal(world: PostgresWorld, encryption: Encryption) -> None:
    async for _ in PostgresResealing(world.order_store.database, encryption).run():
        pass


async def former_approve(pool: Pool, by: str) -> list[asyncpg.Record]:
    return await pool.fetch(FORMER_APPROVE, "apr_1", by, "seen", 30.0, ["admin"])


async def test_a_former_process_neither_executes_nor_declines_an_encrypted_request(pool: Pool):
    store = approvals(pool, ENCRYPTION)
    await requested(store)
    with pytest.raises(asyncpg.CheckViolationError):
        await former_approve(pool, "operator:kofi")
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.fetch(FORMER_DECLINE, "apr_1", "operator:kofi", "no contract")
    assert tuple((await pool.fetch(FORMER_READ, "apr_1"))[0]) == ("{}", "", None, None)
    done = await approved(store, "operator:kofi", "looked at it")
    assert done is not None
    assert (done.action.parameters, done.action.reason, done.decision_reason) == (
        PARAMETERS,
        "prefunded",
        "looked at it",
    )


async def test_a_former_process_does_not_take_over_what_a_new_one_has_approved(pool: Pool):
    store = approvals(pool, ENCRYPTION)
    await requested(approvals(pool, None))
    assert await approved(store, "operator:kofi", "looked at it")
    with pytest.raises(asyncpg.CheckViolationError):
        await former_approve(pool, "operator:esi")
    again = await approved(store, "operator:esi", "again")
    assert again is not None
    assert (again.decided_by, again.decision_reason) == ("operator:kofi", "looked at it")


async def test_a_new_process_takes_over_what_a_former_one_has_approved(pool: Pool):
    await requested(approvals(pool, None))
    [row] = await former_approve(pool, "operator:kofi")
    assert row["id"] == "apr_1"
    await pool.execute("UPDATE approvals SET execute_until = now()")
    again = await approved(approvals(pool, ENCRYPTION), "operator:esi", "again")
    assert again is not None
    assert (again.action.parameters, again.decided_by, again.decision_reason) == (
        PARAMETERS,
        "operator:kofi",
        "seen",
    )


async def test_a_request_is_encrypted_between_its_approval_and_its_end(pool: Pool):
    plain, encrypted = approvals(pool, None), approvals(pool, ENCRYPTION)
    await requested(plain)
    running = await approved(plain, "operator:kofi", "looked at it", execute_s=60.0)
    assert running is not None
    assert running.execute_until is not None
    await reseal(world_of(pool, ENCRYPTION), ENCRYPTION)
    assert await encrypted.approval("apr_1") == running
    await encrypted.finish(Execution("apr_1", running.execute_until), ApprovalStatus.FAILED, "suspended")
    ended = await approvals(pool, ROTATED).approval("apr_1")
    assert ended is not None
    assert (ended.status, ended.failure, ended.decision_reason) == (
        ApprovalStatus.FAILED,
        "suspended",
        "looked at it",
    )
    await reseal(world_of(pool, ROTATED), ROTATED)
    assert await approvals(pool, ROTATED).approval("apr_1") == ended
    stale = await PostgresResealing(Database(pool, encryption=ROTATED), ROTATED).stale()
    assert stale["approvals"] == 0


async def test_ended_approvals_are_deleted_after_the_retention_and_waiting_ones_stay(pool: Pool):
    store = approvals(pool, ENCRYPTION)
    for number in range(1, 5):
        action = Action(name="payout_approve", target=f"po_{number}", parameters={}, reason="known supplier")
        await store.add(f"apr_{number}", action, by="operator:ama", valid_s=1e9)
    for number in (1, 2):
        await store.decline(f"apr_{number}", by="operator:kofi", reason="unknown supplier")
    await pool.execute(
        "UPDATE approvals SET requested_at = now() - interval '100 days' WHERE id IN ('apr_1', 'apr_3')"
    )
    assert await store.delete_ended(older_than_days=90) == 1
    left = await pool.fetch("SELECT id FROM approvals ORDER BY id")
    assert [row["id"] for row in left] == ["apr_2", "apr_3", "apr_4"]
