"""The present version at work on what a release left behind."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from drill.deployment import Deployment, deployed, quick
from drill.script import RAILS
from synccash.engine.settings import EngineSettings
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.case import Claim
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payout import Payee
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.sandbox.faults import Faults
from synccash.sandbox.wire import Call
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.schema.migrations import migrate
from synccash.stores.postgres.webhooks import PostgresWebhooks
from synccash.webhooks.dispatcher import WebhookDispatcher, WebhookDispatcherSettings
from synccash.webhooks.sender import WebhookSender
from synccash.webhooks.signature import signed_headers
from upgrade.stored import Asked, Stored

TENANT = Tenant("m_upgrade", livemode=False)
_PRINTS = {"payments": b"f" * 32, "payouts": b"o" * 32, "refunds": b"r" * 32}
_LADDER = InquirySchedule(steps=(0.05, 0.1, 0.2), tail=((0.25, 20.0),))
_DUE = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE due_at < now() + interval '10 minutes'"
    for table in ("payments", "refunds", "payouts")
)


def patient(public_url: str) -> EngineSettings:
    """Long enough a ladder for what the release sent some seconds before it was stopped."""
    return replace(quick(public_url), schedule=_LADDER)


@dataclass(slots=True, kw_only=True)
class Upgraded(Deployment):
    """Live: the rails with their books, and the database of the release, migrated."""

    stored: Stored
    booked: frozenset[str] = frozenset()
    before: dict[str, asyncpg.Record] = field(default_factory=dict[str, asyncpg.Record])
    told_contradictions: int = 0
    arrivals: Counter[str] = field(default_factory=Counter[str])

    async def begin(self, merchant_url: str) -> None:
        """Restore and migrate the database. Nothing works on it yet."""
        self.rail_settings["hubtel_prompt_window_s"] = "30"
        await self.stored.restore(self.database_url, {**self.sandbox.rail_urls, "merchant": merchant_url})
        await asyncio.to_thread(migrate, self.database_url)
        self.before = {row["id"]: row for row in await self.attempts()}
        [told] = await self._fetch("SELECT count(*) FROM contradictions")
        self.told_contradictions = told[0]
        self.booked = frozenset(plain(order) for order in self.booked_orders())
        for rail in RAILS:
            self._count(rail)

    def booked_orders(self) -> list[str]:
        """The references that a rail has accepted."""
        return [
            order.booked_as or order.reference
            for played in self.sandbox.rails.values()
            for order in played.orders.values()
        ]

    async def attempts(self) -> Sequence[asyncpg.Record]:
        """All attempts, with every column."""
        return await self._fetch("SELECT * FROM attempts ORDER BY order_id, sequence")

    async def _fetch(self, query: str) -> Sequence[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    def _count(self, rail: str) -> None:
        """Count the requests that can move money, under whatever text they carry."""
        played = self.sandbox.rails[rail]
        serve = played.serve

        async def counting(call: Call) -> Any:
            if played.wire.kind(call) == "money" and not call.path.endswith("submit_otp"):
                self.arrivals[plain(f"{call.path} {dict(call.headers)} {call.body.decode()}")] += 1
            return await serve(call)

        played.serve = counting

    def sent(self, attempts: Sequence[asyncpg.Record]) -> Counter[str]:
        """How many requests were sent for each attempt, by its id. One of a refund names its debit too."""
        count: Counter[str] = Counter()
        refunds_first = sorted(attempts, key=lambda attempt: attempt["operation"] != "refund")
        for text, times in self.arrivals.items():
            count[next(a["id"] for a in refunds_first if plain(str(a["reference"])) in text)] += times
        return count

    async def repeat(self, name: str, asked: Asked) -> Reply:
        """Repeat a merchant's request under its own key."""
        engine = self.processes[0].engine
        claim = Claim(f"m_upgrade:test:POST /{asked.kind}", name, _PRINTS[asked.kind])
        common: dict[str, Any] = {"tenant": TENANT, "amount": asked.amount}
        if asked.kind == "refunds":
            return await engine.refund_payment(RefundRequest(**common, payment_id=asked.payment), claim)
        common |= {"currency": "GHS", "reference": name, "rail": asked.rail}
        number = Msisdn.parse(asked.number)
        if asked.kind == "payouts":
            return await engine.pay_out(PayoutRequest(**common, payee=Payee(number)), claim)
        return await engine.initiate_payment(PaymentRequest(**common, payer=Payer(number)), claim)

    async def out_of_reach(self, *, down: bool) -> None:
        """Close the ports of all rails, or open them again."""
        for rail in RAILS:
            await self.sandbox.set_faults(rail, Faults(approve_after_ms=50, down=down))

    async def quiet(self) -> None:
        """Wait until nothing is due soon."""
        await self.none(_DUE)

    async def none(self, query: str) -> None:
        """Wait until a query finds nothing: other tasks write the rows."""
        async with asyncio.timeout(60):
            while await self.pool.fetchval(f"SELECT EXISTS ({query})"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def deliver(self) -> None:
        """Post what is due to the merchant."""
        sender = WebhookSender(private=True)
        notifier = WebhookDispatcher(
            outbox=PostgresWebhooks(Database(self.pool)),
            post=sender.post,
            sign=signed_headers,
            clock=SystemClock(),
            identities=SystemIdentities(),
            work_signal=LocalWorkSignal(),
            random=lambda: 0.0,
            settings=WebhookDispatcherSettings(timeout_s=5.0, poll_s=0.01),
        )
        running = asyncio.create_task(notifier.run())
        try:
            await self.none("SELECT 1 FROM deliveries WHERE delivered_at IS NULL")
        finally:
            notifier.stop()
            await running
            await sender.aclose()


def plain(text: str) -> str:
    """A text in which a reference is found however a rail spells it."""
    return text.replace("-", "")


@contextlib.asynccontextmanager
async def upgraded(
    database_url: str, folder: Path, merchant_url: str, *, lost: str | None = None
) -> AsyncGenerator[Upgraded]:
    """The release's rails and database, ready for the present version. `lost`: an order that its rail has
    lost, by its name there."""
    stored = Stored.read()
    stored.write_journals(folder, lost)
    given = {"order": RAILS, "settings_for": patient, "stored": stored}
    async with deployed(Upgraded, database_url, folder, **given) as deployment:
        await deployment.begin(merchant_url)
        yield deployment
