"""Writes what a release leaves behind when it is stopped in the middle of its work.

Run it with the release's own code, in a worktree of the release, never with the code under test. Its names
are those of the release, and stay when the code under test renames things:

    git worktree add ../release 5b9d1e5
    PYTHONPATH=../release/src:../release/tests \
        .venv/bin/python tests/upgrade/make_dump.py tests/upgrade/release_5b9d1e5

The folder then holds the database as plain SQL, the journals of the sandbox's rails, what callers were told,
and the statements that the release sent. Addresses are replaced by names that the test replaces again.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from drill.house import CALLS, QUICK_BREAKER, RETRY, House, Process, housed, quick
from synccash.payments.ladder import Ladder
from synccash.stores.local_doorbell import LocalDoorbell
from synccash.stores.postgres.ledger import PostgresLedger
from synccash.system import SystemClock, SystemIdentities

from synccash.engine.dispatch import PolicyDispatch
from synccash.engine.engine import build_engine
from synccash.payments.case import Claim
from synccash.payments.errors import PaymentError
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payout import Payee
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.payments.risk import RiskRules
from synccash.payments.webhook import EndpointStatus, WebhookEndpoint, WebhookSecret
from synccash.rails.http.transport import Transport
from synccash.rails.registry import build_rails
from synccash.resilience.profiles import Profile
from synccash.resilience.registry import Registry
from synccash.sandbox.faults import Answer, Callbacks, Faults, Script, Step
from synccash.sandbox.journal import Accepted
from synccash.servers.bundle import start_servers
from synccash.settings import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import Pool, connect
from synccash.stores.postgres.schema.migrations import migrate
from synccash.stores.postgres.webhooks import PostgresWebhooks

RAILS = ("mtn_momo", "paystack", "hubtel", "pawapay")
"""The rails of the release, which has no registry to take them from."""
TENANT = Tenant("m_upgrade", livemode=False)
SCOPES = {kind: f"m_upgrade:test:POST /{kind}" for kind in ("payments", "payouts", "refunds")}
PRINTS = {"payments": b"f" * 32, "payouts": b"o" * 32, "refunds": b"r" * 32}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLKSw"
REVIEW_FROM = 800_000
MTN, TELECEL = "0241{:06d}", "0201{:06d}"
TABLES = ("payments", "refunds", "payouts")
LEFT_OUT = """
SELECT e.id FROM events e WHERE NOT EXISTS (
    SELECT 1 FROM payments WHERE id = e.object_id AND status NOT IN ('succeeded', 'failed', 'canceled')
    UNION ALL SELECT 1 FROM payouts WHERE id = e.object_id AND status = 'processing'
) OR EXISTS (SELECT 1 FROM events newer WHERE newer.object_id = e.object_id AND newer.position > e.position)
"""
LOST_AFTER = Step(answer=Answer.DROP, commit=True)
LOST_BEFORE = Step(answer=Answer.DROP, commit=False)


class Asked(msgspec.Struct, omit_defaults=True):
    """A request of a merchant, and the answer, where there was one."""

    kind: str
    amount: int
    number: str = ""
    rail: str | None = None
    payment: str = ""
    id: str = ""
    status: int | None = None
    body_sha256: str = ""


class Sent(msgspec.Struct):
    """A statement that was sent, with its arguments and how many rows came back."""

    statement: str
    arguments: list[Any]
    rows: int


class Recording(Database):
    """Keeps the statements that found something to do."""

    __slots__ = ("sent",)

    async def once(self, statement: str, *arguments: Any) -> Any:
        found = await super().once(statement, *arguments)
        if found:
            values = [{"bytes": a.decode()} if isinstance(a, bytes) else a for a in arguments]
            self.sent.append(Sent(statement, values, len(found)))
        return found


@dataclass(slots=True, kw_only=True)
class Release(House):
    """Live: the release, its rails, and what its callers asked and were told."""

    asked: dict[str, Asked] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    surplus_refund: Any = "auto"

    def ledger_on(self, pool: Pool) -> PostgresLedger:
        database = Recording(pool)
        database.sent = self.sent
        return PostgresLedger(database)

    async def process(self) -> Process:
        clock = SystemClock()
        pool = await connect(self.database_url, min_size=1, max_size=4)
        transport = Transport()
        built = build_rails(msgspec.convert(self._settings, Settings, strict=False), transport, clock)
        profiles = {"*": Profile(retry=RETRY, breaker=QUICK_BREAKER, total_timeout=2.0)}
        registry = Registry(profiles, clock=clock.monotonic, random=Random(0).random)
        ladder = Ladder(steps=(0.05, 0.1, 0.2), tail=((0.25, 3_600),))
        engine = build_engine(
            ledger=self.ledger_on(pool),
            rails={name: built[name] for name in self.order},
            dispatch=PolicyDispatch(registry.breaker, registry.profile, clock, CALLS, Random(0).random),
            clock=clock,
            identities=SystemIdentities(),
            doorbell=LocalDoorbell(),
            settings=replace(quick(self.public_url), ladder=ladder, surplus_refund=self.surplus_refund),
            rules=RiskRules(review_from=REVIEW_FROM),
        )
        engine.start()
        process = Process(engine, pool, transport, asyncio.create_task(engine.worker.run()))
        self.processes.append(process)
        return process

    async def idle(self) -> Process:
        """A process that takes requests and callbacks, and moves nothing by itself."""
        process = await self.process()
        process.engine.worker.stop()
        return process

    @property
    def engine(self) -> Any:
        return self.processes[-1].engine

    def plan(self, rail: str, *steps: Step) -> None:
        """Say what becomes of the rail's next requests."""
        self.sandbox.rails[rail].set_script(Script(steps))

    async def faults(self, *rails: str, callbacks: str = "normal", down: bool = False) -> None:
        for rail in rails:
            played = self.sandbox.rails[rail]
            played.set_faults(Faults(approve_after_ms=50, callbacks=Callbacks(callbacks), down=down))
            await self.sandbox._obey_down(played)

    # What merchants ask.

    async def pay(self, name: str, number: str, *, rail: str | None = None, **given: Any) -> str:
        amount = given.pop("amount", 2_000 + len(self.asked))
        self.asked[name] = Asked("payments", amount, number, rail)
        request = PaymentRequest(
            tenant=TENANT,
            amount=amount,
            currency="GHS",
            payer=Payer(Msisdn.parse(number)),
            reference=name,
            rail=rail,
            **given,
        )
        return await self._told(name, self.engine.initiate_payment(request, _claim("payments", name)))

    async def pay_out(self, name: str, number: str, *, rail: str | None = None) -> str:
        amount = 1_000 + len(self.asked)
        self.asked[name] = Asked("payouts", amount, number, rail)
        request = PayoutRequest(
            tenant=TENANT,
            amount=amount,
            currency="GHS",
            payee=Payee(Msisdn.parse(number)),
            reference=name,
            rail=rail,
        )
        return await self._told(name, self.engine.pay_out(request, _claim("payouts", name)))

    async def refund(self, name: str, payment_id: str, amount: int) -> str:
        self.asked[name] = Asked("refunds", amount, payment=payment_id)
        request = RefundRequest(tenant=TENANT, payment_id=payment_id, amount=amount)
        return await self._told(name, self.engine.refund_payment(request, _claim("refunds", name)))

    async def _told(self, name: str, call: Coroutine[Any, Any, Reply]) -> str:
        reply = await call
        asked = self.asked[name]
        asked.status, asked.body_sha256 = reply.status, sha256(reply.body).hexdigest()
        asked.id = msgspec.json.decode(reply.body)["id"]
        return asked.id

    # Waiting.

    async def until(self, condition: str, *arguments: Any, hand: bool = False) -> None:
        """Wait until a row says so. `hand`: advance what is due by hand meanwhile, one order at a time."""
        async with asyncio.timeout(20):
            while not await self.pool.fetchval(f"SELECT EXISTS ({condition})", *arguments):
                if hand:
                    for case in await self.ledger.take_due(limit=8, lease_s=2.0):
                        await self.engine.worker.driver.advance(case)
                await asyncio.sleep(0.02)

    async def ended(self) -> None:
        """Wait until nothing is due soon."""
        due = " UNION ALL ".join(f"SELECT 1 FROM {t} WHERE due_at < now() + interval '30 s'" for t in TABLES)
        await self.until(f"SELECT 1 WHERE NOT EXISTS ({due})")

    async def aside(self, order_id: str) -> None:
        """Have nobody take the order before the dump."""
        for table in TABLES:
            query = f"UPDATE {table} SET due_at = now() + interval '1 hour' WHERE id = $1"
            await self.pool.execute(query, order_id)


def _claim(kind: str, name: str) -> Claim:
    return Claim(SCOPES[kind], name, PRINTS[kind])


async def by_hand(release: Release) -> list[str]:
    """Orders that are held in the middle of what happens to them."""
    await release.idle()
    await release.faults(*RAILS, callbacks="lost")
    made: list[str] = []

    # A payout that every rail failed, and that one of them executed all the same.
    await release.faults("paystack", "hubtel", "pawapay", callbacks="lost", down=True)
    release.plan("mtn_momo", Step(end="SERVICE_UNAVAILABLE", then_success_after_ms=700))
    payout = await release.pay_out("payout-late-success", MTN.format(1))
    made.append(payout)
    attempts = "SELECT 1 FROM attempts WHERE order_id = $1"
    await release.until(f"{attempts} AND state = 'declined'", payout, hand=True)
    reference = await release.pool.fetchval("SELECT reference FROM attempts WHERE order_id = $1", payout)
    async with asyncio.timeout(5):
        while not release.sandbox.rails["mtn_momo"].book()["credits"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await release.ledger.hint_reference("mtn_momo", str(reference))
    told = "SELECT 1 FROM contradictions WHERE order_id = $1"
    await release.until(told, payout, hand=True)
    await release.aside(payout)
    await release.faults(*RAILS, callbacks="lost")

    # Sent twice under one reference, and neither time it is known what became of it.
    for name, last in (("pay-two-sends", LOST_BEFORE), ("pay-two-sends-booked", LOST_AFTER)):
        release.plan("mtn_momo", LOST_BEFORE, last)
        payment = await release.pay(name, MTN.format(2 + len(made)), rail="mtn_momo")
        made.append(payment)
        await release.until(f"{attempts} AND sends = 2 AND evidence = 'ambiguous'", payment, hand=True)
        await release.until("SELECT 1 FROM payments WHERE id = $1 AND lease_until IS NULL", payment)
        await release.aside(payment)
    # Their callbacks are lost while the rail still loses them.
    async with asyncio.timeout(5):
        while any(played._timers for played in release.sandbox.rails.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await release.processes[-1].stop()
    return made


async def ended_ones(release: Release) -> list[str]:
    """Orders that ended or wait for a human; returns the one with another amount and the one paid twice."""
    await release.process()
    await release.faults(*RAILS)
    paid = await release.pay("pay-succeeded", MTN.format(10), rail="mtn_momo")
    release.plan("mtn_momo", Step(end="NOT_ENOUGH_FUNDS"))
    await release.pay("pay-failed", MTN.format(11), rail="mtn_momo")
    await release.faults("pawapay", down=True)
    await release.pay("pay-expired", MTN.format(12), rail="pawapay", expires_in_s=1)
    canceled = await release.pay("pay-canceled", MTN.format(13), amount=REVIEW_FROM)
    await release.engine.cancel_payment(TENANT, canceled)
    await release.until("SELECT 1 FROM payments WHERE status_detail = 'expired'")
    await release.faults("pawapay")

    other = await release.pay("pay-amount-differs", MTN.format(14), rail="paystack")
    played = release.sandbox.rails["paystack"]
    [order] = [o for o in played.orders.values() if o.amount == release.asked["pay-amount-differs"].amount]
    played._record(Accepted(msgspec.structs.replace(order, amount=order.amount + 7)))
    await release.until("SELECT 1 FROM payments WHERE id = $1 AND status_detail = 'under_review'", other)

    await release.until("SELECT 1 FROM payments WHERE id = $1 AND status = 'succeeded'", paid)
    await release.refund("refund-succeeded", paid, 700)
    await release.ended()
    release.plan("mtn_momo", Step(end="PAYEE_NOT_FOUND"))
    await release.refund("refund-failed", paid, 300)
    await release.pay_out("payout-succeeded", MTN.format(15), rail="mtn_momo")
    release.plan("mtn_momo", Step(end="INTERNAL_PROCESSING_ERROR", then_success_after_ms=300))
    failed = await release.pay_out("payout-failed-late", MTN.format(19), rail="mtn_momo")
    await release.until("SELECT 1 FROM contradictions WHERE order_id = $1", failed)
    release.plan("mtn_momo", Step(end="INTERNAL_PROCESSING_ERROR", then_success_after_ms=400))
    await release.pay("pay-twice-returned", MTN.format(16))
    await release.until("SELECT 1 FROM refunds WHERE surplus AND status = 'succeeded'")
    for rail in ("paystack", "pawapay"):
        await release.pay(f"pay-{rail}", MTN.format(17), rail=rail)
    await release.ended()
    await release.processes[-1].stop()

    release.surplus_refund = "manual"
    await release.process()
    release.plan("mtn_momo", Step(end="SERVICE_UNAVAILABLE", then_success_after_ms=400))
    twice = await release.pay("pay-twice", MTN.format(18))
    await release.until("SELECT 1 FROM contradictions WHERE order_id = $1", twice)
    await release.ended()
    await release.processes[-1].stop()
    return [other, twice]


async def open_ones(release: Release, twice: str) -> None:
    """Orders that are under way when the release is stopped."""
    await release.idle()
    engine = release.engine
    await engine.return_surplus(twice, by="operator", reason="paid twice")
    await release.faults(*RAILS, callbacks="lost")
    await release.pay("pay-risk-review", MTN.format(30), amount=REVIEW_FROM + 1)
    for rail in RAILS:
        release.plan(rail, LOST_AFTER)
        await release.pay(f"pay-lost-after-{rail}", MTN.format(31), rail=rail)
        release.plan(rail, LOST_BEFORE)
        await release.pay(f"pay-lost-before-{rail}", MTN.format(32), rail=rail)
    await release.pay("pay-otp", TELECEL.format(33), rail="paystack")
    given = await release.pay("pay-otp-given", TELECEL.format(34), rail="paystack")
    await engine.submit_otp(TENANT, given, "123456")
    for rail in RAILS:
        release.plan(rail, Step(approve_after_ms=4_000))
        await release.pay(f"pay-acknowledged-{rail}", MTN.format(35), rail=rail)
    release.plan("mtn_momo", *[Step(answer=Answer.HTTP_503)] * 3)
    await release.pay("pay-fell-over", MTN.format(36))
    release.plan("mtn_momo")

    for rail, step in (("mtn_momo", LOST_BEFORE), ("paystack", LOST_AFTER), ("pawapay", LOST_AFTER)):
        payment = release.asked["pay-succeeded" if rail == "mtn_momo" else f"pay-{rail}"].id
        release.plan(rail, step)
        await release.refund(f"refund-open-{rail}", payment, 500)
    for rail in ("mtn_momo", "paystack", "pawapay"):
        release.plan(rail, LOST_AFTER)
        await release.pay_out(f"payout-lost-after-{rail}", MTN.format(40), rail=rail)
        release.plan(rail, LOST_BEFORE)
        await release.pay_out(f"payout-lost-before-{rail}", MTN.format(41), rail=rail)

    # A callback that came while nobody was there to ask.
    await release.faults("mtn_momo")
    await release.pay("pay-hinted", MTN.format(42), rail="mtn_momo")
    await release.until("SELECT 1 FROM payments WHERE reference = 'pay-hinted' AND hinted")
    await release.faults("mtn_momo", callbacks="lost")

    await release.faults("pawapay", callbacks="lost", down=True)
    await release.pay("pay-queued", MTN.format(43), rail="pawapay")
    await release.pay_out("payout-queued", MTN.format(44), rail="pawapay")
    await killed_ones(release)
    await engine.holding.close()


async def killed_ones(release: Release) -> None:
    """Orders whose process dies while they are sent: booked then or not, no caller was ever told."""
    doomed = await release.idle()
    later = {"latency_ms": 400}
    release.plan(
        "mtn_momo",
        Step(**later),
        Step(answer=Answer.DROP, commit=False, **later),
        Step(**later),
        Step(answer=Answer.DROP, commit=False, **later),
    )
    calls = []
    for number, (name, call) in enumerate(
        (
            ("pay-killed-booked", release.pay),
            ("pay-killed-unsent", release.pay),
            ("payout-killed-booked", release.pay_out),
            ("payout-killed-unsent", release.pay_out),
        )
    ):
        sent = release.sandbox.rails["mtn_momo"].script.next
        calls.append(asyncio.create_task(call(name, MTN.format(50 + number), rail="mtn_momo")))
        async with asyncio.timeout(5):
            while len(release.sandbox.rails["mtn_momo"].script.next) == len(sent):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    await doomed.kill()
    release.processes.remove(doomed)
    for call in calls:
        call.cancel()
    with contextlib.suppress(PaymentError):
        await asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(0.6)
    for name in ("pay-killed-booked", "pay-killed-unsent", "payout-killed-booked", "payout-killed-unsent"):
        table = "payments" if name.startswith("pay-") else "payouts"
        query = f"SELECT id FROM {table} WHERE reference = $1"
        release.asked[name].id = await release.pool.fetchval(query, name)


def named(text: str, release: Release) -> str:
    """The text with names in place of the addresses of this run."""
    for rail, url in release.sandbox.rail_urls.items():
        text = text.replace(url, f"http://{rail}.example")
    return text.replace(release.public_url, "http://synccash.example")


def journal(path: Path) -> str:
    """The rail's orders and what became of them. Credentials, faults and scripts are the test's own."""
    kept = {"accepted", "ended", "called_back", "requested"}
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if _is_kept(msgspec.json.decode(line), kept))


def _is_kept(event: dict[str, Any], kept: set[str]) -> bool:
    return event["type"] in kept or (event["type"] == "learned" and "recipient" in event["fact"])


def dumped(url: str) -> str:
    """The database as plain SQL, without what only psql understands."""
    from synccash.servers.binaries import find_postgres

    program = find_postgres().path.with_name("pg_dump")
    options = ["--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges", "--no-comments"]
    environment = os.environ | {"PGTZ": "UTC"}
    done = subprocess.run(
        [str(program), *options, url], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    kept = (line for line in lines if line.strip() and not line.startswith(("--", "\\", "SET ")))
    return _HEX_OF_JSON.sub(_readable, "\n".join(kept) + "\n")


_HEX_OF_JSON = re.compile(r"'\\x(7b22[0-9a-f]+)'")


def _readable(found: re.Match[str]) -> str:
    """The same bytes as text, which is half as long and can be read."""
    text = bytes.fromhex(found[1]).decode().replace("'", "''")
    return f"convert_to('{text}', 'UTF8')"


async def play(url: str, folder: Path, out: Path) -> None:
    async with housed(Release, url, folder, order=RAILS) as release:
        first = await release.idle()
        await PostgresWebhooks(Database(first.pool)).add(_endpoint())
        await first.engine.close()
        held = await by_hand(release)
        other, twice = await ended_ones(release)
        await open_ones(release, twice)
        held.append(other)
        for table in TABLES:
            await release.pool.execute(f"UPDATE {table} SET due_at = now() WHERE id = ANY($1)", held)
        # History that no later work reads is left out, to keep the file small.
        await release.pool.execute(
            "DELETE FROM timeline WHERE kind IN ('created', 'routed', 'sent', 'inquired')"
        )
        for table, column in (("deliveries", "event_id"), ("events", "id")):
            await release.pool.execute(f"DELETE FROM {table} WHERE {column} IN ({LEFT_OUT})")
        made_at = await release.pool.fetchval("SELECT now()")
        told = {"made_at": made_at, "asked": release.asked}
        (out / "told.json").write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
        (out / "database.sql").write_text(named(dumped(url), release))
        for rail in RAILS:
            (out / f"{rail}.jsonl").write_text(named(journal(folder / f"{rail}.jsonl"), release))
        for process in release.processes:
            process.working.cancel()


async def play_few(url: str, folder: Path, out: Path) -> None:
    """One order of each kind from its first statement to its last."""
    async with housed(Release, url, folder, order=RAILS) as release:
        await release.process()
        await release.faults(*RAILS, callbacks="lost")
        release.plan("mtn_momo", LOST_BEFORE)
        paid = await release.pay("pay-resent", MTN.format(1), rail="mtn_momo")
        await release.ended()
        reference = await release.pool.fetchval("SELECT reference FROM attempts WHERE order_id = $1", paid)
        await release.ledger.hint_reference("mtn_momo", str(reference))
        await release.ended()
        await release.refund("refund", paid, 100)
        await release.ended()
        await release.pay_out("payout", MTN.format(2), rail="mtn_momo")
        await release.ended()
        texts = list({sent.statement: None for sent in release.sent})
        sent = [
            {"of": texts.index(sent.statement), "arguments": sent.arguments, "rows": sent.rows}
            for sent in release.sent
        ]
        content = msgspec.json.format(msgspec.json.encode({"statements": texts, "sent": sent}), indent=1)
        (out / "statements.json").write_text(named(content.decode(), release) + "\n")


def _endpoint() -> WebhookEndpoint:
    now = datetime.now(UTC)
    return WebhookEndpoint(
        id="we_upgrade",
        merchant_id=TENANT.merchant_id,
        livemode=TENANT.livemode,
        url="http://merchant.example/hook",
        types=None,
        secrets=(WebhookSecret(SECRET),),
        status=EndpointStatus.ENABLED,
        created_at=now,
        updated_at=now,
    )


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(exist_ok=True)
    for run in (play, play_few):
        folder = Path(tempfile.mkdtemp(prefix="synccash-release-"))
        folder.chmod(0o711)
        with start_servers(folder, durable=False, valkey=False) as servers:
            assert servers.database_url is not None
            migrate(servers.database_url)
            asyncio.run(run(servers.database_url, folder / "sandbox", out))


if __name__ == "__main__":
    main()
