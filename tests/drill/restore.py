"""Restores a backup while merchants and rails continue: `python -m drill.restore --scripts 200`, from tests/.

Merchants repeat the requests that the database lost, sometimes with another amount, number or rail. The
rails' books show whether anything was sent twice.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec

from drill.deployment import REFERENCES, Deployment, Process, deployed, quick
from drill.runs import ANY, database
from servers_fixture import CREDIT, execute
from sim.world import logs_into
from synccash.drill.rails import RAILS, WITHOUT_DEDUPLICATION
from synccash.engine.settings import EngineSettings
from synccash.payments.case import Claim
from synccash.payments.errors import KeyInProgressError, PaymentError
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payout import Payee
from synccash.payments.rail import Operation
from synccash.payments.references import OrderIdentity
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Tenant
from synccash.sandbox.faults import Faults
from synccash.servers.bundle import start_servers
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery
from synccash.stores.postgres.schema.migrations import migrate

TENANT = Tenant("m_restore", livemode=False)
UNSAFE_RAILS = tuple(rail for rail in RAILS if (rail, "collect") in WITHOUT_DEDUPLICATION)
"""Rails that collect twice under a repeated reference."""
SAFE_RAILS = tuple(rail for rail in RAILS if rail not in UNSAFE_RAILS)
BEFORE, LOST = 6, 20
SEQUENCES = 60
"""How many attempts of one order are looked for in the books."""
PATIENCE_S = 60.0
FINAL = ("succeeded", "failed", "canceled")
_OPEN = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE status NOT IN ('succeeded', 'failed', 'canceled') "
    "AND status_detail IS DISTINCT FROM 'under_review'"
    for table in ("payments", "refunds", "payouts")
)


def restored(public_url: str) -> EngineSettings:
    """The drill's engine; closed attempts are rechecked within seconds."""
    return replace(quick(public_url), recovery_depth=6, recheck_ages_s=(1.0, 2.0, 4.0))


@dataclass(frozen=True, kw_only=True)
class Deal:
    """What a merchant asks for. `refunds`: what is given back of a payment that has succeeded."""

    reference: str
    pays_out: bool
    number: str
    amount: int
    pinned: str | None
    refunds: tuple[int, ...] = ()

    def identity(self) -> OrderIdentity:
        return OrderIdentity(
            merchant_id=TENANT.merchant_id,
            livemode=False,
            operation=Operation.PAYOUT if self.pays_out else Operation.COLLECT,
            names=(self.reference,),
        )


@dataclass(slots=True, kw_only=True)
class Restore(Deployment):
    """Live. One run: orders, a copy of the database, more orders, the copy in its place, and the release."""

    random: Random
    wrong: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Play the run to its end; `wrong` says what went wrong."""
        deals = [self._deal(f"before-{n}") for n in range(BEFORE)]
        lost = [self._deal(f"lost-{n}") for n in range(LOST)]
        await self._spend(deals, (), self.random.random() * 0.8)
        copy = await self._copied()
        await self._spend(lost, deals, 0.2 + self.random.random() * 1.3)
        self.database_url = copy
        self.processes = [await self._started()]
        if not self.engine.recovery.known.active:
            self.wrong.append("open: the service sends on a restored database")
        held_from = len(self.requests)
        again = [self._altered(deal) for deal in (*deals, *lost)]
        await asyncio.gather(*(self._ask_again(deal) for deal in again))
        await self._give_back(again)
        await asyncio.sleep(0.3)
        if len(self.requests) > held_from:
            self.wrong.append(f"sent: {len(self.requests) - held_from} requests left in the recovery")
        for rail in self.order:
            await self._set(rail, Faults(approve_after_ms=20))
        await PostgresRecovery(Database(self.pool)).release(by="drill")
        await self.engine.recovery.look()
        await self._rest()
        await self._judge(again, {deal.reference: deal for deal in (*deals, *lost)})

    @property
    def engine(self) -> Any:
        return self.processes[-1].engine

    def _deal(self, reference: str) -> Deal:
        random = self.random
        amount = random.randrange(1_000, 9_000)
        pays_out = random.random() < 0.3
        parts = random.choice(((), (), (amount // 2,), (amount // 3, amount // 3), (amount,)))
        return Deal(
            reference=reference,
            pays_out=pays_out,
            number=f"0241{random.randrange(1_000_000):06d}",
            amount=amount,
            pinned=random.choice(self.order) if random.random() < 0.2 else None,
            refunds=() if pays_out else parts,
        )

    def _altered(self, deal: Deal) -> Deal:
        """What the merchant asks for the second time."""
        random = self.random
        match random.randrange(8):
            case 0:
                return replace(deal, amount=deal.amount + 100)
            case 1:
                return replace(deal, number=f"0242{random.randrange(1_000_000):06d}")
            case 2 | 3:
                return replace(deal, pinned=random.choice(self.order))
            case _:
                return deal

    async def _spend(self, deals: Sequence[Deal], refundable: Sequence[Deal], seconds: float) -> None:
        """Ask for the deals under faults, then kill the process after so many seconds."""
        self.processes = [await self._started()]
        for rail in self.order:
            await self._set(rail, self._faults())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._give_back(refundable)
                await asyncio.gather(*(self._try(deal) for deal in deals))
                await asyncio.sleep(seconds)
        await self.processes.pop().kill()

    def _faults(self) -> Faults:
        random = self.random
        faults = Faults(
            approve_after_ms=random.choice((0, 20, 200, 600)), callbacks=random.choice(("normal", "lost"))
        )
        match random.randrange(6):
            case 0:
                return msgspec.structs.replace(faults, drop="after_commit", drop_rate=0.5)
            case 1:
                return msgspec.structs.replace(faults, drop="before_commit", drop_rate=0.5)
            case 2:
                return msgspec.structs.replace(faults, down=True)
            case 3:
                return msgspec.structs.replace(faults, error_rate=0.5)
            case _:
                return faults

    async def _started(self) -> Process:
        process = await self.process()
        await process.engine.recovery.look()
        return process

    async def _set(self, rail: str, faults: Faults) -> None:
        await self.sandbox.set_faults(rail, faults)

    async def _copied(self) -> str:
        """A copy of the database, as a backup restored on another server."""
        base = urlsplit(self.database_url)
        name = f"{base.path[1:]}_restored"
        admin = await asyncpg.connect(base._replace(path="/postgres").geturl())
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {base.path[1:]}")
        finally:
            await admin.close()
        url = base._replace(path=f"/{name}").geturl()
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("UPDATE recovery SET system_identifier = system_identifier - 1")
        finally:
            await connection.close()
        return url

    async def _ask(self, deal: Deal) -> None:
        kind = "payouts" if deal.pays_out else "payments"
        claim = Claim(f"m_restore:test:POST /{kind}", deal.reference, deal.reference.encode().ljust(32))
        common: dict[str, Any] = {
            "tenant": TENANT,
            "amount": deal.amount,
            "currency": "GHS",
            "reference": deal.reference,
            "rail": deal.pinned,
            "expires_in_s": 12,
        }
        number = Msisdn.parse(deal.number)
        if deal.pays_out:
            reply = await self.engine.pay_out(PayoutRequest(payee=Payee(number), **common), claim)
        else:
            request = PaymentRequest(payer=Payer(number), **common)
            reply = await self.engine.initiate_payment(request, claim)
        self.ids[deal.reference] = msgspec.json.decode(reply.body)["id"]

    async def _ask_again(self, deal: Deal) -> None:
        """The merchant's repeat, until the restored service answers it: it has to be accepted."""
        refused: PaymentError | None = None
        for _ in range(100):
            try:
                await self._ask(deal)
            except KeyInProgressError as error:
                # Restored with its lease: the first request under the key counts as running until that ends.
                refused = error
                await asyncio.sleep(0.1)
            except PaymentError as error:
                refused = error
                break
            else:
                return
        self.wrong.append(f"refused: {deal.reference}: {type(refused).__name__}: {refused}")

    async def _try(self, deal: Deal) -> None:
        """The process may be killed under it."""
        with contextlib.suppress(PaymentError):
            await self._ask(deal)

    async def _give_back(self, deals: Iterable[Deal]) -> None:
        for deal in deals:
            payment_id = self.ids.get(deal.reference)
            for n, amount in enumerate(deal.refunds if payment_id else ()):
                key = f"{deal.reference}-refund-{n}"
                claim = Claim("m_restore:test:POST /refunds", key, key.encode().ljust(32))
                request = RefundRequest(tenant=TENANT, payment_id=str(payment_id), amount=amount)
                with contextlib.suppress(PaymentError):
                    await self.engine.refund_payment(request, claim)

    async def _rest(self) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            if not await self.pool.fetchval(f"SELECT EXISTS ({_OPEN})"):
                # Closed attempts are rechecked for some more seconds.
                await asyncio.sleep(1.0)
                return
            await asyncio.sleep(0.1)
        for row in await self.pool.fetch(
            "SELECT id, status, status_detail FROM payments UNION ALL SELECT id, status, status_detail "
            "FROM refunds UNION ALL SELECT id, status, status_detail FROM payouts"
        ):
            if row["status"] not in FINAL and row["status_detail"] != "under_review":
                self.wrong.append(f"stuck: {row['id']} is {row['status']}, {row['status_detail']}")
                self.wrong += [
                    f"  {entry['kind']} {entry['data'].decode()}"
                    for entry in await self.pool.fetch(
                        "SELECT kind, data FROM timeline WHERE order_id = $1 ORDER BY position DESC LIMIT 4",
                        row["id"],
                    )
                ]

    async def _judge(self, asked: Sequence[Deal], first: dict[str, Deal]) -> None:
        """Hold every deal against the books of the rails."""
        moved: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for played in self.sandbox.rails.values():
            book = played.book()
            for entry in (*book["debits"], *book["credits"]):
                moved[entry["reference"].replace("-", "")].append((entry["amount"], entry["msisdn"]))
        contradicted = {
            row["order_id"] for row in await self.pool.fetch("SELECT order_id FROM contradictions")
        }
        for deal in asked:
            went = self._booked(moved, deal.identity())
            if len(went) > 1:
                self.wrong.append(f"double: {deal.reference} moved {went}")
            row = await self._order(deal)
            if row is None:
                if went:
                    self.wrong.append(f"lost: {deal.reference} moved {went} and has no row")
                continue
            told = row["id"] in contradicted or row["status_detail"] == "under_review"
            as_asked = went == [(row["amount"], row["number"])]
            if row["status"] == "succeeded" and not as_asked and row["id"] not in contradicted:
                self.wrong.append(f"lied: {deal.reference} is succeeded and moved {went}")
            if went and row["status"] != "succeeded" and not told:
                self.wrong.append(f"lost: {deal.reference} is {row['status']} and moved {went}")
            self._judge_refunds(deal, first[deal.reference], went, moved)

    def _judge_refunds(
        self,
        deal: Deal,
        first: Deal,
        went: Sequence[tuple[int, str]],
        moved: dict[str, list[tuple[int, str]]],
    ) -> None:
        back = 0
        for n in range(max(len(deal.refunds), len(first.refunds))):
            names = (deal.reference, f"key:{deal.reference}-refund-{n}")
            identity = replace(deal.identity(), operation=Operation.REFUND, names=names)
            given = self._booked(moved, identity)
            back += sum(amount for amount, _ in given)
            if len(given) > 1:
                self.wrong.append(f"double: refund {n} of {deal.reference} moved {given}")
        if back > sum(amount for amount, _ in went):
            self.wrong.append(f"double: {deal.reference} brought {went} and {back} went back")

    def _booked(
        self, moved: dict[str, list[tuple[int, str]]], identity: OrderIdentity
    ) -> list[tuple[int, str]]:
        references = (REFERENCES.derive(identity, n).replace("-", "") for n in range(1, SEQUENCES))
        return [entry for reference in references for entry in moved.get(reference, ())]

    async def _order(self, deal: Deal) -> Any:
        table, number = ("payouts", "payee_msisdn") if deal.pays_out else ("payments", "payer_msisdn")
        return await self.pool.fetchrow(
            f"SELECT id, status, status_detail, amount, {number} AS number FROM {table} WHERE reference = $1",
            deal.reference,
        )


async def restored_run(seed: int, server_url: str, database_url: str, folder: Path) -> list[str]:
    """Play the run of a seed on a migrated database, and say what was wrong."""
    random = Random(seed)
    rails = [*SAFE_RAILS, *(UNSAFE_RAILS if random.random() < 0.2 else ())]
    random.shuffle(rails)
    given: dict[str, Any] = {
        "order": tuple(rails),
        "seed": seed,
        "random": random,
        "settings_for": restored,
    }
    copy = f"{urlsplit(database_url).path[1:]}_restored"
    try:
        async with deployed(Restore, database_url, folder, **given) as world:
            # As the sandbox's MTN takes them: a search has to get through a rail that limits inquiries.
            world.rail_settings["mtn_momo_status_per_s"] = "10"
            await world.run()
            return world.wrong
    finally:
        admin = await asyncpg.connect(server_url)
        try:
            await admin.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
        finally:
            await admin.close()


async def judge_all(
    seeds: Iterable[int], server_url: str, template: str, *, at_once: int
) -> dict[int, list[str]]:
    """What was wrong, by seed; seeds that went well are left out."""
    room = asyncio.Semaphore(at_once)
    bad: dict[int, list[str]] = {}

    async def one(seed: int) -> None:
        with tempfile.TemporaryDirectory(prefix="synccash-restore-") as folder:
            async with room, database(server_url, template) as url:
                wrong = await restored_run(seed, server_url, url, Path(folder))
        if wrong:
            bad[seed] = wrong
            print(f"{seed}: {'; '.join(wrong)}", file=sys.stderr, flush=True)

    errors: list[str] = []
    with logs_into(errors):
        await asyncio.gather(*(one(seed) for seed in seeds))
    if errors:
        bad[ANY] = errors
    return bad


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--scripts", type=int, default=200, help="how many")
    asked.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    asked.add_argument("--at-once", type=int, default=4, help="how many side by side")
    options = asked.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="synccash-restore-"))
    folder.chmod(0o711)
    with start_servers(folder, durable=False, valkey=False) as servers:
        url = servers.database_url
        assert url is not None
        migrate(url)
        execute(url, CREDIT)
        admin = urlsplit(url)._replace(path="/postgres").geturl()
        seeds = range(options.first, options.first + options.scripts)
        began = time.perf_counter()
        bad = asyncio.run(judge_all(seeds, admin, urlsplit(url).path[1:], at_once=options.at_once))
        took_s = time.perf_counter() - began
    print(f"{options.scripts} restores in {took_s:.0f} s, {len(bad)} of them bad: {sorted(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
