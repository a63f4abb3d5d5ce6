"""Rows with a canary number in every personal field, and what the database shows of it."""

from dataclasses import replace

from order_store_contract import ANSWER, LATER_S, claim, opening, refund_opening, succeeded
from payment_samples import NOW
from stores.postgres_world import PostgresWorld
from synccash.payments.approval import Action, ApprovalStatus, Execution
from synccash.payments.case import Entry, Opened, PaymentCase, ReleaseLease
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.request import Tenant
from synccash.payments.webhook import EndpointStatus, WebhookEndpoint, WebhookSecret
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.reading import PostgresReading
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.webhooks import PostgresWebhooks

CANARY = "233249177330"
TENANT = Tenant("m_1", livemode=False)
SECRET = WebhookSecret("whsec_canary233249177330")
BODY = f'{{"payer":   {{"msisdn": "{CANARY}"}}}}'.encode()
"""What events and answers hold, with spaces that an encoder would not write."""
PERSONAL = {
    "payer": Payer(Msisdn(CANARY)),
    "description": f"for {CANARY}",
    "metadata": {"phone": CANARY},
}


def world_of(pool: Pool, encryption: Encryption | None) -> PostgresWorld:
    return PostgresWorld(pool, PostgresOrderStore(Database(pool, encryption=encryption)))


async def filled(world: PostgresWorld, number: int) -> PaymentCase:
    """Write every kind of row that has the canary in it."""
    asked = opening(
        world,
        number,
        reference=f"order {number} of {CANARY}",
        key=f"key-{number}-{CANARY}",
        payment={"amount": 100, **PERSONAL},
        attempt=None,
        lease=ReleaseLease(LATER_S),
        answer=replace(ANSWER, body=BODY),
        timeline=(Entry(at=NOW, kind="approved", data={"by": "ama", "reason": f"called {CANARY}"}),),
    )
    asked = replace(asked, events=tuple(replace(one, data=BODY) for one in asked.events))
    result = await world.order_store.open(asked)
    assert isinstance(result, Opened)
    case = await succeeded(world, number + 100)
    refund = refund_opening(case, number, 10, key=f"refund-{number}-{CANARY}")
    refund = replace(
        refund, order=replace(refund.order, reason=f"sorry {CANARY}", identity=f"key:{number}:{CANARY}")
    )
    assert isinstance(await world.order_store.open(refund), Opened)
    endpoint = WebhookEndpoint(
        id=f"we_{number}",
        merchant_id="m_1",
        livemode=False,
        url="https://shop.example/hook",
        types=None,
        secrets=(SECRET,),
        status=EndpointStatus.ENABLED,
        created_at=NOW,
        updated_at=NOW,
    )
    await PostgresWebhooks(world.order_store.database).add(endpoint)
    await approvals_filled(world, number)
    found = await world.order_store.payment(f"pay_{number}")
    assert found is not None
    return found


async def approvals_filled(world: PostgresWorld, number: int) -> None:
    """Write an approval that was declined, and one whose execution failed."""
    approvals = PostgresApprovals(world.order_store.database)
    declined, failed = f"apr_declined_{number}", f"apr_failed_{number}"
    for approval_id in (declined, failed):
        parameters = {"outcome": "failed", "note": f"for {CANARY}"}
        action = Action(
            name="payment_resolve", target=approval_id, parameters=parameters, reason=f"called {CANARY}"
        )
        await approvals.add(approval_id, action, by="operator:ama", valid_s=60.0)
    assert await approvals.decline(declined, by="operator:kofi", reason=f"{CANARY} does not answer")
    until = await world.value(
        "UPDATE approvals SET status = 'approved', decided_by = 'operator:kofi', execute_until = now() "
        "WHERE id = $1 RETURNING execute_until",
        failed,
    )
    execution = Execution(failed, until)
    await approvals.finish(execution, ApprovalStatus.FAILED, f"refused for {CANARY}")


async def dump(pool: Pool) -> str:
    """The text of every row of the database, and what its byte columns hold as text."""
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows: list[str] = []
    for table in tables:
        found = await pool.fetch(f"SELECT t::text AS row FROM {table['tablename']} t")
        rows += [f"{table['tablename']}: {row['row']}" for row in found]
    return "\n".join(rows)


def leaks(text: str) -> list[str]:
    """The rows that show the canary, as it is, as people dial it, or in a byte column."""
    shown = (CANARY, CANARY[3:], CANARY[3:].encode().hex(), "whsec_")
    return [line[:200] for line in text.splitlines() if any(one in line for one in shown)]


async def shown(world: PostgresWorld, number: int) -> list[object]:
    """What the service shows of the rows."""
    database = world.order_store.database
    reading, webhooks = PostgresReading(database), PostgresWebhooks(database)
    payment = await world.order_store.payment(f"pay_{number}")
    refund = await world.order_store.refund(f"re_{number}")
    assert payment is not None
    assert refund is not None
    return [
        payment.order,
        refund.order,
        await world.order_store.claimed(claim().scope, f"key-{number}-{CANARY}"),
        sorted(await world.events(), key=lambda event: event.id),
        await reading.timeline(TENANT, f"pay_{number}"),
        [(one.id, one.secrets) for one in await webhooks.endpoints(TENANT)],
        await PostgresApprovals(database).all(None, 100),
    ]
