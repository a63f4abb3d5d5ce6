"""One run: the environment, the merchants and the faults."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from drill.deployment import LADDER_S, Deployment, deployed, quick
from drill.script import TABLES, TROUBLE_S, Asked, Partition, Script, Spoiling
from postgres_proxy import PostgresProxy, postgres_proxy
from synccash.engine.engine import Engine
from synccash.engine.ports import SendResult
from synccash.engine.settings import EngineSettings
from synccash.engine.system import SystemClock
from synccash.payments.case import Claim
from synccash.payments.errors import OrderUnreadableError, PaymentError
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payout import Payee
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.sandbox.faults import Faults, Step
from synccash.sandbox.faults import Script as RailScript
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.pool import Pool, connect

TENANT = Tenant("m_drill", livemode=False)
OTP = "123456"
FINAL = ("succeeded", "failed", "canceled")
PATIENCE_S = 20.0
"""Twice what the ladder and all leases come to: what has not ended by then is stuck."""
CALLS = 200
"""How often a caller asks for the same thing before it gives up, 0.1 s apart."""
RECHECK_AGES_S = (0.7, 2.0, 4.5)
_PARKED_S = RECHECK_AGES_S[-1] + 2.0
"""Until then an order that waits for a human is still asked about every half second."""


def rechecking(public_url: str) -> EngineSettings:
    """The impatient engine with rechecks that a run lives to see."""
    return replace(
        quick(public_url),
        recheck_ages_s=RECHECK_AGES_S,
        schedule=InquirySchedule(
            steps=(0.05, 0.1, 0.2),
            tail=((0.25, LADDER_S),),
            parked=((0.5, _PARKED_S), (86_400.0, inf)),
        ),
    )


class SkewedClock(SystemClock):
    """The clock of a host that shows the wrong time."""

    def __init__(self, skew_s: float) -> None:
        self._skew = timedelta(seconds=skew_s)

    def now(self) -> datetime:
        return super().now() + self._skew


class WatchedOrderStore:
    """Passes every call on, and writes down what its process wanted to commit while it was cut off."""

    def __init__(self, inner: Any, world: "World") -> None:
        self._inner, self._world = inner, world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def record(self, move: Any, note: Any = None) -> bool:
        if self._world.is_cut_off:
            self._world.met_partition.add(move.order.id)
        return await self._inner.record(move, note)

    async def renew(self, holds: Sequence[Any], *, lease_s: float) -> Any:
        if self._world.is_cut_off:
            self._world.met_partition.update(hold.order_id for hold in holds)
        return await self._inner.renew(holds, lease_s=lease_s)


class WatchedDispatch:
    """Passes every call on, and writes down which references a process with a wrong clock has sent."""

    def __init__(self, inner: Any, met: set[str]) -> None:
        self._inner, self._met = inner, met

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, rail: Any, order: Any, **given: Any) -> SendResult:
        self._met.add(order.reference)
        return await self._inner.send(rail, order, **given)


@dataclass(slots=True, kw_only=True)
class World(Deployment):
    """Live: built on a database of its own, run once, then judged.

    `spoiled`: the rows that could not be read, by the order's id: table, and what stood in its place.
    `met_partition` has the orders that a process wanted to commit while it was cut off from PostgreSQL, and
    `met_skew` the references that a process with a wrong clock has sent.
    """

    script: Script
    watching: Pool
    between: PostgresProxy | None = None
    settings_for: Callable[[str], EngineSettings] = rechecking
    told: list[tuple[str, Reply]] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set[str])
    errors: list[str] = field(default_factory=list)
    spoiled: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    is_cut_off: bool = False
    met_partition: set[str] = field(default_factory=set)
    met_skew: set[str] = field(default_factory=set)

    @property
    def pool(self) -> Pool:
        """For observers outside the processes under test."""
        return self.watching

    @property
    def order_store(self) -> PostgresOrderStore:
        """For observers outside the processes under test."""
        return self.order_store_on(self.watching)

    def url_of(self, number: int) -> str:
        return self.between.url if self.between is not None and number == 0 else self.database_url

    def clock_of(self, number: int) -> SystemClock:
        return SkewedClock(self.script.skews_s[number])

    def watched(self, number: int, order_store: Any, dispatch: Any) -> tuple[Any, Any]:
        if number == 0 and self.script.partition is not None:
            order_store = WatchedOrderStore(order_store, self)
        if self.script.skews_s[number]:
            dispatch = WatchedDispatch(dispatch, self.met_skew)
        return order_store, dispatch

    async def run(self) -> None:
        """Play the script to its end, then wait until nothing is under way."""
        self.processes = [await self.process(0), await self.process(1)]
        async with asyncio.TaskGroup() as everything:
            everything.create_task(self._trouble())
            for number, asked in enumerate(self.script.payments):
                everything.create_task(self._buyer(f"order-{number}", asked))
            for number, asked in enumerate(self.script.payouts):
                everything.create_task(self._payer_out(f"payout-{number}", asked))
            if self.script.partition is not None:
                everything.create_task(self._cut_off(self.script.partition))
            for spoiling in self.script.spoilings:
                everything.create_task(self._spoil(spoiling))
        await self.rest()
        await self._mend_the_rest()
        # On a busy machine a short inquiry schedule may have ended: one more inquiry must find the outcome.
        for row in await self.pool.fetch(_REVIEWED):
            await self.order_store.hint_reference(row["rail"], str(row["reference"]))
        await self.rest()

    async def _cut_off(self, partition: Partition) -> None:
        """Keep the first process from PostgreSQL, from a moment on at which it works on an order."""
        assert self.between is not None
        await asyncio.sleep(partition.at_s)
        process = self.processes[0]
        for _ in range(200):
            if process.engine.leases.busy:
                break
            await asyncio.sleep(0.005)
        self.is_cut_off = True
        if partition.is_silent:
            self.between.silence()
        else:
            await self.between.cut()
        await asyncio.sleep(partition.leases * self.settings_for("").lease_s)
        self.is_cut_off = False
        await self.between.restore()

    async def _spoil(self, spoiling: Spoiling) -> None:
        """Write an unknown value into an open row, and restore the row later."""
        await asyncio.sleep(spoiling.at_s)
        table = spoiling.table
        for _ in range(100):
            row = await self.pool.fetchrow(_SPOIL[table])
            if row is not None:
                break
            await asyncio.sleep(0.02)
        else:
            return
        self.spoiled[row["id"]] = (table, row["former"])
        if spoiling.lasts_s is not None:
            await asyncio.sleep(spoiling.lasts_s)
            await self._mend(row["id"])

    async def _mend(self, order_id: str) -> None:
        table, former = self.spoiled[order_id]
        await self.pool.execute(_MEND[table], order_id, former)

    async def _mend_the_rest(self) -> None:
        """An unreadable order must be on the review list; once repaired, it continues."""
        if not self.spoiled:
            return
        listed = {row["id"] for row in await self.waiting() if row["why"] == "unreadable"}
        for row in await self.pool.fetch(_STILL_SPOILED):
            if row["id"] not in listed:
                self.errors.append(f"unlisted: {row['id']} cannot be read and does not wait for a human")
        for order_id in self.spoiled:
            await self._mend(order_id)
        await self.rest()

    async def waiting(self) -> Sequence[dict[str, Any]]:
        """What `synccash payments waiting` shows."""
        return await PostgresWaiting(Database(self.pool)).oldest(1_000)

    async def _trouble(self) -> None:
        for rail, steps in self.script.steps.items():
            planned = msgspec.convert(list(steps), tuple[Step, ...])
            self.sandbox.rails[rail].set_script(RailScript(planned))
        moments: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = [
            (spell.at_s, lambda spell=spell: self._set(spell.rail, msgspec.convert(spell.faults, Faults)))
            for spell in self.script.spells
        ]
        if self.script.kills_at_s is not None:
            moments.append((self.script.kills_at_s, self._kill))
        begins = asyncio.get_running_loop().time()
        for at_s, happen in sorted(moments, key=lambda moment: moment[0]):
            await asyncio.sleep(max(0.0, begins + at_s - asyncio.get_running_loop().time()))
            await happen()
        await asyncio.sleep(max(0.0, begins + TROUBLE_S - asyncio.get_running_loop().time()))
        for rail, played in self.sandbox.rails.items():
            played.set_script(RailScript())
            await self._set(rail, Faults(approve_after_ms=20))

    async def _set(self, rail: str, faults: Faults) -> None:
        await self.sandbox.set_faults(rail, faults)

    async def _kill(self) -> None:
        dead, self.processes[0] = self.processes[0], await self.process(0)
        await dead.kill()

    async def _buyer(self, reference: str, asked: Asked) -> None:
        await asyncio.sleep(asked.at_s)
        request = PaymentRequest(
            tenant=TENANT,
            amount=asked.amount,
            currency="GHS",
            payer=Payer(Msisdn.parse(asked.number)),
            reference=reference,
            expires_in_s=asked.expires_in_s,
            rail=asked.pinned,
        )
        claim = Claim("m_drill:test:POST /payments", reference, b"f" * 32)
        payment_id = await self._at_once(
            reference, asked.repeats, lambda engine: engine.initiate_payment(request, claim)
        )
        if payment_id is None:
            return
        payment = await self._ended(payment_id, asked)
        if payment != "succeeded":
            return
        for number, amount in enumerate(asked.refunds):
            back = RefundRequest(tenant=TENANT, payment_id=payment_id, amount=amount)
            name = f"{reference}-refund-{number}"
            key = Claim("m_drill:test:POST /refunds", name, b"r" * 32)
            await self._insist(name, lambda engine, b=back, k=key: engine.refund_payment(b, k))

    async def _payer_out(self, reference: str, asked: Asked) -> None:
        await asyncio.sleep(asked.at_s)
        request = PayoutRequest(
            tenant=TENANT,
            amount=asked.amount,
            currency="GHS",
            payee=Payee(Msisdn.parse(asked.number)),
            reference=reference,
            expires_in_s=60,
            rail=asked.pinned,
        )
        claim = Claim("m_drill:test:POST /payouts", reference, b"o" * 32)
        await self._at_once(reference, asked.repeats, lambda engine: engine.pay_out(request, claim))

    async def _at_once(self, name: str, repeats: int, call: Callable[[Engine], Any]) -> str | None:
        """Ask `repeats` times at once. Returns the order's id, or None where its row is unreadable."""
        replies = await asyncio.gather(*(self._insist(name, call, turn) for turn in range(repeats)))
        ids = {msgspec.json.decode(reply.body)["id"] for reply in replies if reply is not None}
        if not ids and name in self.unreadable:
            return None
        if not ids:
            raise TimeoutError(f"{name} has no answer after {CALLS} calls: is the machine too busy?")
        if len(ids) != 1:
            self.errors.append(f"duplicate: {name} is {len(ids)} orders")
        return min(ids)

    async def _insist(self, name: str, call: Callable[[Engine], Any], turn: int = 0) -> Reply | None:
        """Ask, with the same key, until there is an answer."""
        is_unreadable = False
        for again in range(CALLS):
            is_unreadable = False
            engine = self.processes[(turn + again) % 2].engine
            try:
                async with asyncio.timeout(3):
                    reply = await call(engine)
            except (TimeoutError, asyncio.CancelledError):
                current = asyncio.current_task()
                assert current is not None
                if current.cancelling():
                    raise
            except self._unreadable():
                is_unreadable = True
                await self._take_up_again()
            except PaymentError as error:
                if not hasattr(error, "retry_after_s"):
                    return None
            except Exception:
                # Where a process was killed, asyncpg raises all sorts of things over statements under way.
                if any(engine is process.engine for process in self.processes):
                    raise
            else:
                self.told.append((name, reply))
                return reply
            await asyncio.sleep(0.1)
        if is_unreadable:
            self.unreadable.add(name)
        else:
            self.errors.append(f"stuck: {name} was never answered")
        return None

    async def _ended(self, payment_id: str, asked: Asked) -> str:
        """Wait for the end, and give the password that a rail may ask for."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            with contextlib.suppress(PaymentError, *self._unreadable()):
                payment = (await self._case(payment_id)).order
                if payment.status.value in FINAL or payment.status_detail == "under_review":
                    return payment.status.value
                if payment.status.value == "requires_action" and asked.gives_otp:
                    await self.processes[-1].engine.submit_otp(TENANT, payment_id, OTP)
            await self._take_up_again()
            await asyncio.sleep(0.1)
        return "stuck"

    async def _case(self, payment_id: str) -> Any:
        return await self.order_store.payment(payment_id)

    def _unreadable(self) -> tuple[type[Exception], ...]:
        """What reading an order may raise where the script makes rows unreadable."""
        return (OrderUnreadableError, msgspec.MsgspecError, ValueError) if self.script.spoilings else ()

    async def rest(self) -> None:
        """Wait until no order is due any more and no rail has anything to say."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            await self._take_up_again()
            if not self._rails_busy() and not await self.pool.fetchval(_UNDER_WAY):
                return
            await asyncio.sleep(0.25)

    async def _take_up_again(self) -> None:
        """Make a repaired row due at once: it was set aside for half a minute or longer."""
        for table in TABLES if self.spoiled else ():
            await self.pool.execute(_TAKE_UP[table])

    def _rails_busy(self) -> bool:
        """True while a rail has pending work; an unanswered prompt may remain."""
        return any(played.has_work_within(PATIENCE_S) for played in self.sandbox.rails.values())


_WORD = "drill_unreadable"
_SPOILED = f"""
    SELECT id FROM payments WHERE status_detail = '{_WORD}' UNION ALL
    SELECT id FROM payouts WHERE status_detail = '{_WORD}' UNION ALL
    SELECT r.id FROM refunds r JOIN payments p ON p.id = r.payment_id
    WHERE r.status_detail = '{_WORD}' OR p.status_detail = '{_WORD}'
"""
_STILL_SPOILED = f"SELECT id FROM ({_SPOILED}) AS spoiled JOIN unreadable_orders ON order_id = id"
_SPOIL = {
    table: f"""
    UPDATE {table} SET status_detail = '{_WORD}' FROM (
        SELECT id, status_detail AS former FROM {table}
        WHERE status NOT IN ('succeeded', 'failed', 'canceled') AND lease_until IS NULL
            AND due_at < now() + interval '1 second' AND status_detail IS DISTINCT FROM '{_WORD}'
        ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS chosen WHERE {table}.id = chosen.id RETURNING {table}.id, former
    """
    for table in TABLES
}
_MEND = {
    table: f"UPDATE {table} SET status_detail = $2 WHERE id = $1 AND status_detail = '{_WORD}'"
    for table in TABLES
}
# No other wait of a run is as long, but for the day of an order that waits for a human.
_TAKE_UP = {
    table: f"""
    UPDATE {table} SET due_at = now() FROM unreadable_orders
    WHERE order_id = id AND lease_until IS NULL AND id NOT IN ({_SPOILED})
        AND due_at BETWEEN now() + interval '20 seconds' AND now() + interval '15 minutes'
    """
    for table in TABLES
}
# An order that waits longer than the run's inquiry schedule is parked, and inquired once a day.
_UNDER_WAY = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE due_at < now() + interval '1 hour' AND id NOT IN ({_SPOILED})"
    for table in TABLES
)
_REVIEWED = """
    SELECT rail, reference FROM attempts JOIN (
        SELECT id, status_detail FROM payments UNION ALL
        SELECT id, status_detail FROM refunds UNION ALL
        SELECT id, status_detail FROM payouts
    ) AS orders ON orders.id = attempts.order_id
    WHERE status_detail = 'under_review' AND state IN ('acknowledged', 'unknown')
"""


@contextlib.asynccontextmanager
async def world_of(script: Script, database_url: str, folder: Path) -> AsyncGenerator[World]:
    """A world, ready to run; afterwards nothing of it is left."""
    async with contextlib.AsyncExitStack() as stack:
        watching = await connect(database_url, min_size=1, max_size=1)
        stack.push_async_callback(watching.close)
        cut = script.partition is not None
        between = await stack.enter_async_context(postgres_proxy(database_url)) if cut else None
        given = {"script": script, "order": script.order, "seed": script.seed}
        given |= {"watching": watching, "between": between}
        yield await stack.enter_async_context(deployed(World, database_url, folder, **given))
