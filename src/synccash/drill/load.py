"""The load of a drill: requests payments, refunds and payouts, and repeats unanswered requests."""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from synccash.drill.records import FINAL
from synccash.drill.timeline import RequestSample

AMOUNT = 2500
EXPIRES_IN_S = 60
"""Short enough that a drill sees the expiry of an order that its rail has lost."""
_CYCLE = 5
_REFUNDS: Mapping[int, tuple[int, ...]] = {1: (AMOUNT,), 3: (1000, 700)}
"""The refunds of a payment, by its number within a cycle; number 2 of a cycle comes with a payout."""
_ANSWER_S = 60.0
_CONFLICT_S = 20.0
"""How long a refund waits for another one of the same payment, which may never end."""
_END_S = 90.0


@dataclass(slots=True)
class Merchant:
    """Requests orders, and repeats each request with the same idempotency key until there is an answer.

    `pinned_rails`: every second order names one of them; the engine routes the others. `acknowledged`: the
    returned id by the name of the request; None where the API did not accept it. `samples`: how long that
    took. `refusals`: refused refunds.
    """

    session: aiohttp.ClientSession
    api: str
    pinned_rails: Sequence[str] = ()
    acknowledged: dict[str, str | None] = field(default_factory=dict[str, str | None])
    samples: list[RequestSample] = field(default_factory=list[RequestSample])
    began: float = field(default_factory=time.monotonic)
    repeats: int = 0
    refusals: int = 0

    async def pay(self, number: int) -> None:
        """Request a payment, and refund some of the payments once they have succeeded."""
        name = f"drill-{number}"
        payment_id = await self._create("payments", name, self._body(number, "payer", name))
        parts = _REFUNDS.get(number % _CYCLE, ())
        if payment_id is None or not parts or not await self._succeeded(payment_id):
            return
        for part, amount in enumerate(parts):
            await self._create(f"payments/{payment_id}/refunds", f"{name}-refund-{part}", {"amount": amount})

    async def pay_at(self, rail: str, number: int) -> str | None:
        """Request one payment at this rail, from a number that pays nothing else."""
        name = f"drill-sabotage-{number}"
        body = {
            "amount": AMOUNT,
            "currency": "GHS",
            "payer": {"msisdn": f"0249999{number:03d}"},
            "reference": name,
        }
        return await self._create("payments", name, {**body, "rail": rail})

    def pays_out(self, number: int) -> bool:
        """Return whether a payout comes with this payment."""
        return number % _CYCLE == 2

    async def pay_out(self, number: int) -> None:
        """Request a payout."""
        name = f"drill-payout-{number}"
        await self._create("payouts", name, self._body(number, "payee", name))

    def _body(self, number: int, party: str, name: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "amount": AMOUNT,
            "currency": "GHS",
            party: {"msisdn": f"024{number // 400:04d}{number % 400:03d}"},
            "reference": name,
            "expires_in": EXPIRES_IN_S,
        }
        # By groups of a cycle, so that each rail has payments with refunds and with payouts.
        group = number // _CYCLE
        if self.pinned_rails and group % 2 == 0:
            body["rail"] = self.pinned_rails[group // 2 % len(self.pinned_rails)]
        return body

    async def _create(self, path: str, name: str, body: Mapping[str, Any]) -> str | None:
        """Return the id of the order, or None where the API refused it or never answered."""
        key = uuid.uuid4().hex
        began = time.monotonic()
        while time.monotonic() < began + _ANSWER_S:
            try:
                async with self.session.post(
                    f"{self.api}/{path}", json=body, headers={"Idempotency-Key": key}
                ) as reply:
                    answer: Any = await reply.json(content_type=None)
                    if reply.status in (201, 202):
                        self.acknowledged[name] = answer["id"]
                        self._sample(began, time.monotonic() - began)
                        return answer["id"]
                    # 409 may mean that the first request, or another refund, is still under way.
                    is_refund = path.endswith("/refunds")
                    waits = reply.status == 409 and (not is_refund or time.monotonic() < began + _CONFLICT_S)
                    if 400 <= reply.status < 500 and reply.status != 429 and not waits:
                        return self._refused(path, name)
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
            self.repeats += 1
            await asyncio.sleep(0.3)
        self.acknowledged[name] = None
        self._sample(began, None)
        return None

    def _sample(self, began: float, seconds: float | None) -> None:
        self.samples.append(RequestSample(began - self.began, seconds))

    def _refused(self, path: str, name: str) -> None:
        """Count a refused refund, which may happen; record any other refused order as not accepted."""
        if path.endswith("/refunds"):
            self.refusals += 1
        else:
            self.acknowledged[name] = None

    async def _succeeded(self, payment_id: str) -> bool:
        """Wait for the payment's end; return whether it succeeded."""
        end = time.monotonic() + _END_S
        while time.monotonic() < end:
            try:
                async with self.session.get(f"{self.api}/payments/{payment_id}") as reply:
                    answer: Any = await reply.json(content_type=None)
                    if reply.status == 200 and answer["status"] in FINAL:
                        return answer["status"] == "succeeded"
                    if reply.status == 200 and answer["status_detail"] == "under_review":
                        return False
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
            await asyncio.sleep(0.5)
        return False
