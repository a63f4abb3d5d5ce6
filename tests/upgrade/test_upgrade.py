"""A release is stopped in the middle of its work; the present version migrates its database and ends it."""

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from synccash.payments.errors import KeyInProgressError
from synccash.payments.rail import RailStatus, StatusAnswer
from synccash.rails.hubtel.connector import Hubtel
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.migrations import migrate
from upgrade.stored import Stored, statements
from upgrade.upgraded import TENANT, Upgraded, plain, upgraded
from webhooks.merchant_server import merchant_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLKSw"
UNANSWERED = ("pay-killed-booked", "pay-killed-unsent", "payout-killed-booked", "payout-killed-unsent")
ENDS = {
    # Another amount came than was asked for.
    "pay-amount-differs": ("processing", "under_review"),
    # Hubtel finds nothing and would execute a repeat, so only its statement can tell.
    "pay-lost-before-hubtel": ("processing", "under_review"),
    # A rail executed it after it had called it failed, and other rails had been tried.
    "payout-late-success": ("processing", "under_review"),
    "pay-failed": ("failed", None),
    "pay-expired": ("failed", "expired"),
    "pay-canceled": ("canceled", None),
    "pay-twice-returned": ("failed", None),
    "payout-failed-late": ("failed", None),
    "refund-failed": ("failed", None),
}
"""How the orders end that do not succeed."""
SENT_AGAIN = {
    "pay-lost-before-mtn_momo",
    "pay-lost-before-paystack",
    "pay-lost-before-pawapay",
    "pay-two-sends",
    "pay-killed-unsent",
    "payout-lost-before-mtn_momo",
    "payout-lost-before-paystack",
    "payout-lost-before-pawapay",
    "payout-killed-unsent",
    "refund-open-mtn_momo",
}
"""The orders whose reference no rail has, and whose rail executes a reference once."""
OPENED = {"pay-risk-review", "pay-queued", "payout-queued", "surplus of pay-twice"}
"""The orders for which nothing was ever on its way, so that an attempt is opened now."""
_ORDERS = """
SELECT id, reference AS name, status, status_detail, amount, amount_refunded FROM payments UNION ALL
SELECT id, reference, status, status_detail, amount, 0 FROM payouts UNION ALL
SELECT r.id, CASE WHEN r.surplus THEN 'surplus of ' || p.reference ELSE i.key END, r.status, r.status_detail,
    r.amount, 0
FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN idempotency i ON i.order_id = r.id
"""


async def test_the_next_version_ends_the_orders_of_a_release(empty_database_url: str, tmp_path: Path):
    async with (
        merchant_server() as merchant,
        upgraded(empty_database_url, tmp_path, merchant.url.removesuffix("/hook")) as deployment,
    ):
        deployment.processes = [await deployment.process()]
        deployment.processes[0].engine.worker.stop()
        await repeats_in_progress(deployment)
        deployment.processes += [await deployment.process(), await deployment.process()]
        await people_decide(deployment)
        await deployment.quiet()
        orders = {row["id"]: row for row in await deployment.pool.fetch(_ORDERS)}
        assert ends(orders) == expected(orders, deployment.stored)
        contradictions = await deployment.pool.fetchval("SELECT count(*) FROM contradictions")
        assert contradictions == deployment.told_contradictions, "what the release has told is told again"
        await judge_books(deployment, orders)
        await judge_sends(deployment, orders)
        await judge_replays(deployment)
        await deployment.deliver()
        told = merchant.verified(SECRET)
        events = await deployment.pool.fetchval("SELECT count(*) FROM deliveries")
        assert len(told) == len({headers["webhook-id"] for headers, _ in merchant.received}) == events > 30


_PAYSTACKS_REFUND = "refund 4000000008"
"""What Paystack calls the refund `refund-open-paystack`."""


def _finds_nothing(inquire: Any) -> Any:
    """Hubtel's word for an unknown reference, read as "not found", as a connector might read it one day."""

    async def read_otherwise(self: Hubtel, *arguments: Any, **named: Any) -> StatusAnswer:
        answer: StatusAnswer = await inquire(self, *arguments, **named)
        return replace(answer, status_at_rail=RailStatus.NOT_FOUND) if answer.unknown_reference else answer

    return read_otherwise


async def test_what_a_rail_would_execute_twice_is_not_sent_again_although_the_rail_lost_it(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Hubtel, "inquire", _finds_nothing(Hubtel.inquire))
    nobody = "http://127.0.0.1:9"
    async with upgraded(empty_database_url, tmp_path, nobody, lost=_PAYSTACKS_REFUND) as deployment:
        deployment.processes = [await deployment.process()]
        await deployment.quiet()
        orders = {row["id"]: row["name"] for row in await deployment.pool.fetch(_ORDERS)}
        attempts = {orders[a["order_id"]]: a for a in await deployment.attempts()}
        sent = deployment.sent(list(attempts.values()))
        for name in ("pay-lost-before-hubtel", "refund-open-paystack"):
            attempt = attempts[name]
            assert (sent[attempt["id"]], attempt["sends"], attempt["sequence"]) == (0, 1, 1), name
            assert attempt["not_founds"] > 0, f"{name} was found"
            assert attempt["state"] == "unknown", name


async def test_an_attempt_whose_process_died_counts_as_sent(empty_database_url: str, tmp_path: Path):
    async with upgraded(empty_database_url, tmp_path, "http://127.0.0.1:9") as deployment:
        deployment.processes = [await deployment.process()]
        engine = deployment.processes[0].engine
        engine.worker.stop()
        await deployment.processes[0].working
        await deployment.out_of_reach(down=True)
        killed = {deployment.stored.asked[name].id for name in UNANSWERED}
        leases = "SELECT id, lease_until FROM {} WHERE id = ANY($1)"
        ended = [
            r for t in ("payments", "payouts") for r in await deployment.pool.fetch(leases.format(t), killed)
        ]
        await deployment.none(
            "SELECT 1 FROM payments WHERE lease_until > now() UNION ALL "
            "SELECT 1 FROM payouts WHERE lease_until > now()"
        )
        for case in await engine.order_store.take_due(limit=100, lease_s=2.0):
            if case.attempts and case.attempts[0].order_id in killed:
                await engine.worker.order_worker.advance(case)
        attempts = {a["order_id"]: a for a in await deployment.attempts() if a["order_id"] in killed}
        assert len(attempts) == len(ended) == len(killed)
        for order_id, lease_until in ended:
            attempt = attempts[order_id]
            assert (attempt["state"], attempt["evidence"]) == ("unknown", "ambiguous")
            assert attempt["quiet_since"] == lease_until, "it settles from the end of the lease"
            assert (attempt["sequence"], attempt["sends"]) == (1, 1)
        assert deployment.arrivals == {}


async def repeats_in_progress(deployment: Upgraded) -> None:
    """Whoever was never answered is told so, until a worker has looked."""
    for name in UNANSWERED:
        with pytest.raises(KeyInProgressError):
            await deployment.repeat(name, deployment.stored.asked[name])


async def people_decide(deployment: Upgraded) -> None:
    """The payer hands over a password, and an operator approves: both were asked by the release."""
    engine = deployment.processes[0].engine
    await engine.submit_otp(TENANT, deployment.stored.asked["pay-otp"].id, "123456")
    review = deployment.stored.asked["pay-risk-review"].id
    await engine.reviewing.approve(review, by="operator", reason="known customer")


def ends(orders: dict[str, asyncpg.Record]) -> dict[str, tuple[str, str | None]]:
    return {row["name"]: (row["status"], row["status_detail"]) for row in orders.values()}


def expected(orders: dict[str, asyncpg.Record], stored: Stored) -> dict[str, tuple[str, str | None]]:
    surplus = {"surplus of pay-twice", "surplus of pay-twice-returned"}
    names = {*stored.asked, *surplus}
    assert len(names) == len(orders)
    return {name: ENDS.get(name, ("succeeded", None)) for name in names}


async def judge_books(deployment: Upgraded, orders: dict[str, asyncpg.Record]) -> None:
    """What the rails moved is what the database says: one debit net of credits, one credit for a payout."""
    moved: dict[str, list[int]] = defaultdict(list)
    for played in deployment.sandbox.rails.values():
        book = played.book()
        for entry in book["debits"]:
            moved[plain(entry["reference"])].append(entry["amount"])
        for entry in book["credits"]:
            moved[plain(entry["reference"])].append(-entry["amount"])
    owner = {plain(str(row["reference"])): row["order_id"] for row in await deployment.attempts()}
    assert set(moved) <= set(owner)
    refunded = {row["id"]: row["payment_id"] for row in await deployment.pool.fetch("SELECT * FROM refunds")}
    net: Counter[str] = Counter()
    paid_out: Counter[str] = Counter()
    for reference, amounts in moved.items():
        assert len(amounts) == 1, f"{reference} moved money {len(amounts)} times"
        order = owner[reference]
        net[refunded.get(order, order)] += amounts[0]
        paid_out[order] += 1
    wrong = {
        row["name"]: net[row["id"]]
        for row in orders.values()
        if row["id"].startswith("pay_") and net[row["id"]] != due(row)
    }
    asked = deployment.stored.asked["pay-amount-differs"].amount
    assert wrong == {"pay-amount-differs": asked + 7}
    outgoing = {
        row["name"]: paid_out[row["id"]] for row in orders.values() if row["id"][:3] in ("po_", "re_")
    }
    assert outgoing == {name: 0 if name == "refund-failed" else 1 for name in outgoing}


def due(row: asyncpg.Record) -> int:
    """What a payment should have brought on the whole."""
    return row["amount"] - row["amount_refunded"] if row["status"] == "succeeded" else 0


async def judge_sends(deployment: Upgraded, orders: dict[str, asyncpg.Record]) -> None:
    """Nothing that a rail had is sent again, and only what nobody had ever sent gets a new reference."""
    again: set[str] = set()
    opened: list[str] = []
    attempts = await deployment.attempts()
    sent = deployment.sent(attempts)
    for attempt in attempts:
        name, times = orders[attempt["order_id"]]["name"], sent[attempt["id"]]
        before = deployment.before.get(attempt["id"])
        if before is None:
            opened.append(name)
        elif times:
            assert plain(str(attempt["reference"])) not in deployment.booked, f"{name} was sent again"
            again.add(name)
        sends = attempt["sends"] - (before["sends"] if before else 0)
        # On a machine that stood still a send may end without having reached the rail, in doubt or not.
        assert times == sends or (times < sends and attempt["evidence"] in ("ambiguous", "not_sent")), name
        assert times <= 1, name
    assert again == SENT_AGAIN
    assert sorted(opened) == sorted(OPENED)


async def judge_replays(deployment: Upgraded) -> None:
    """Each completed claim repeats its first answer, and each other has one answer by now."""
    for name, asked in deployment.stored.asked.items():
        reply, again = await deployment.repeat(name, asked), await deployment.repeat(name, asked)
        assert reply.replayed
        assert (reply.status, reply.body) == (again.status, again.body)
        if name in UNANSWERED:
            assert msgspec.json.decode(reply.body)["id"] == asked.id
        else:
            assert (reply.status, sha256(reply.body).hexdigest()) == (asked.status, asked.body_sha256)


_AT_ONCE = "UPDATE {} SET due_at = now() WHERE lease_until IS NULL AND due_at > now()"
_IN_TIME = "UPDATE {} SET expires_at = now() + interval '1 hour'"


async def test_statements_of_a_release_work_on_the_migrated_database(empty_database_url: str):
    """While processes of both versions run, the release writes to the new schema and leaves what is new."""
    await asyncio.to_thread(migrate, empty_database_url)
    pool = await connect(empty_database_url, min_size=1, max_size=1)
    try:
        stored = statements()
        for sent in stored.sent:
            statement = stored.statements[sent.of]
            for table in ("payments", "payouts", "refunds"):
                await pool.execute(_AT_ONCE.format(table))
            for table in ("payments", "payouts"):
                await pool.execute(_IN_TIME.format(table))
            arguments = [a["bytes"].encode() if isinstance(a, dict) else a for a in sent.arguments]
            assert len(await pool.fetch(statement, *arguments)) == sent.rows, statement
        order_store = PostgresOrderStore(Database(pool))
        for table, read in (
            ("payments", order_store.payment),
            ("refunds", order_store.refund),
            ("payouts", order_store.payout),
        ):
            [row] = await pool.fetch(f"SELECT id, status FROM {table}")
            assert row["status"] == "succeeded"
            case = await read(row["id"])
            assert case is not None
            assert [(a.state.value, a.not_founds, a.moved_at) for a in case.attempts] == [
                ("succeeded", 0, None)
            ]
    finally:
        await pool.close()
