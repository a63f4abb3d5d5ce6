"""One run: a house, merchants, and trouble."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from drill.house import House, housed
from drill.script import TROUBLE_S, Asked, Script
from synccash.engine.engine import Engine
from synccash.payments.case import Claim
from synccash.payments.errors import PaymentError
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payout import Payee
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.sandbox.faults import Faults, Step
from synccash.sandbox.faults import Script as RailScript

TENANT = Tenant("m_drill", livemode=False)
OTP = "123456"
FINAL = ("succeeded", "failed", "canceled")
PATIENCE_S = 20.0
"""Twice what the ladder and all leases come to: what has not ended by then is stuck."""


@dataclass(slots=True, kw_only=True)
class World(House):
    """Live: built on a database of its own, run once, then judged."""

    script: Script
    told: list[tuple[str, Reply]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Play the script to its end, then wait until nothing is under way."""
        self.processes = [await self.process(), await self.process()]
        async with asyncio.TaskGroup() as everything:
            everything.create_task(self._trouble())
            for number, asked in enumerate(self.script.payments):
                everything.create_task(self._buyer(f"order-{number}", asked))
            for number, asked in enumerate(self.script.payouts):
                everything.create_task(self._payer_out(f"payout-{number}", asked))
        await self._rest()
        # A machine that is too busy may have let a short ladder run out: whoever asks once more has to see.
        for row in await self.pool.fetch(_REVIEWED):
            await self.ledger.hint_reference(row["rail"], str(row["reference"]))
        await self._rest()

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
        played = self.sandbox.rails[rail]
        played.set_faults(faults)
        await self.sandbox._obey_down(played)

    async def _kill(self) -> None:
        dead, self.processes[0] = self.processes[0], await self.process()
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

    async def _at_once(self, name: str, repeats: int, call: Callable[[Engine], Any]) -> str:
        replies = await asyncio.gather(*(self._insist(name, call, turn) for turn in range(repeats)))
        ids = {msgspec.json.decode(reply.body)["id"] for reply in replies if reply is not None}
        if len(ids) != 1:
            self.errors.append(f"duplicate: {name} is {len(ids)} orders")
        return min(ids)

    async def _insist(self, name: str, call: Callable[[Engine], Any], turn: int = 0) -> Reply | None:
        """Ask, with the same key, until there is an answer."""
        for again in range(200):
            engine = self.processes[(turn + again) % 2].engine
            try:
                async with asyncio.timeout(3):
                    reply = await call(engine)
            except (TimeoutError, asyncio.CancelledError):
                current = asyncio.current_task()
                assert current is not None
                if current.cancelling():
                    raise
            except PaymentError as error:
                if not hasattr(error, "retry_after_s"):
                    return None
            else:
                self.told.append((name, reply))
                return reply
            await asyncio.sleep(0.1)
        self.errors.append(f"stuck: {name} was never answered")
        return None

    async def _ended(self, payment_id: str, asked: Asked) -> str:
        """Wait for the end, and give the password that a rail may ask for."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            with contextlib.suppress(PaymentError):
                payment = (await self._case(payment_id)).payment
                if payment.status.value in FINAL or payment.status_detail == "under_review":
                    return payment.status.value
                if payment.status.value == "requires_action" and asked.gives_otp:
                    await self.processes[-1].engine.submit_otp(TENANT, payment_id, OTP)
            await asyncio.sleep(0.1)
        return "stuck"

    async def _case(self, payment_id: str) -> Any:
        return await self.processes[-1].engine.ledger.payment(payment_id)

    async def _rest(self) -> None:
        """Wait until no order is due any more and no rail has anything to say."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            if not await self.pool.fetchval(_UNDER_WAY) and not self._rails_busy():
                return
            await asyncio.sleep(0.1)

    def _rails_busy(self) -> bool:
        """True while a rail has something to do soon; a prompt that nobody answers may stay."""
        soon = asyncio.get_running_loop().time() + PATIENCE_S
        return any(
            played._courier._running or any(timer.when() < soon for timer in played._timers.values())
            for played in self.sandbox.rails.values()
        )


# Who waits longer than the run is patient is parked, and looked at once a day.
_UNDER_WAY = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE due_at < now() + interval '1 hour'"
    for table in ("payments", "refunds", "payouts")
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
    given = {"script": script, "order": script.order, "seed": script.seed}
    async with housed(World, database_url, folder, **given) as world:
        yield world
