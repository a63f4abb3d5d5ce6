"""The client for asyncio programs. It speaks through aiohttp: `pip install 'synccash[client]'`.

`sync.py` is generated from this file by `make generate`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal, TypeVar

from synccash.client import calls
from synccash.client.aio_connections import AsyncConnections
from synccash.client.errors import APIConnectionError
from synccash.client.events import Event, Health, Redelivery, WebhookEndpoint
from synccash.client.exchange import RETRY, Call, Service, judge
from synccash.client.models import (
    Balance,
    Network,
    Order,
    Page,
    Payment,
    PaymentStatus,
    Payout,
    Refund,
    TimelineEntry,
    goes_on,
)
from synccash.resilience import Policy
from synccash.resilience.deadline import remaining

T = TypeVar("T")


class AsyncSyncCash:
    """Asks a SyncCash service for money. Use it inside one event loop; close it, or use `async with`.

    A call that gets no answer, or a "later", is repeated where that is safe, under the same idempotency key,
    for `timeout_s` seconds in all: money moves once however often it was sent. `attempt_timeout_s` is the
    longest wait for one answer. Inside `with deadline(seconds):` the earlier of both ends holds.

    Every call raises SyncCashError, and ValueError for what cannot be sent at all.

    >>> async with AsyncSyncCash("http://localhost:8000", "sk_test_…") as cash:
    ...     payment = await cash.create_payment(amount=2500, msisdn="0241234567", reference="order 1")
    ...     payment = await cash.wait(payment)
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 30.0,
        attempt_timeout_s: float = 15.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connections = AsyncConnections(Service.at(url, api_key))
        self._attempt_timeout_s = attempt_timeout_s
        self._sleep = sleep
        self._careful, self._repeating = (
            Policy(
                "synccash",
                retry=RETRY,
                total_timeout=timeout_s,
                interrupt=False,
                idempotent=repeatable,
                classify=judge,
                sleep=sleep,
            )
            for repeatable in (False, True)
        )

    async def __aenter__(self) -> "AsyncSyncCash":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()

    async def create_payment(
        self,
        *,
        amount: int,
        msisdn: str,
        reference: str,
        currency: str = "GHS",
        network: Network | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        expires_in: int | None = None,
        rail: str | None = None,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Collect `amount` pesewas from a wallet. `expires_in` in seconds; `rail` pins one: no fail-over.

        Give your own `idempotency_key` where your program may restart and ask again. `user_id` is your name
        of the end user, for limits.
        """
        return await self._run(
            calls.create_payment(
                amount=amount,
                msisdn=msisdn,
                reference=reference,
                currency=currency,
                network=network,
                description=description,
                metadata=metadata,
                expires_in=expires_in,
                rail=rail,
                user_id=user_id,
                idempotency_key=idempotency_key,
            )
        )

    async def get_payment(self, payment_id: str) -> Payment:
        """Read a payment as it stands."""
        return await self._run(calls.get_payment(payment_id))

    async def list_payments(
        self,
        *,
        status: PaymentStatus | None = None,
        reference: str | None = None,
        payer: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Payment]:
        """Read one page of payments, newest first. `after` is the `next` of the page before."""
        return await self._run(
            calls.list_payments(status=status, reference=reference, payer=payer, after=after, limit=limit)
        )

    async def payments(
        self,
        *,
        status: PaymentStatus | None = None,
        reference: str | None = None,
        payer: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Payment]:
        """Go through all payments, newest first. Pages of `limit` are read as they are needed."""
        after: str | None = None
        while True:
            page = await self.list_payments(
                status=status, reference=reference, payer=payer, after=after, limit=limit
            )
            for payment in page:
                yield payment
            if not page.has_more:
                return
            after = page.next

    async def get_timeline(self, payment_id: str) -> Page[TimelineEntry]:
        """Read all that was decided about a payment and its refunds, oldest first."""
        return await self._run(calls.get_timeline(payment_id))

    async def cancel_payment(self, payment_id: str) -> Payment:
        """Call a payment off while no money may have moved; later it is PaymentInFlightError."""
        return await self._run(calls.cancel_payment(payment_id))

    async def submit_otp(self, payment_id: str, otp: str) -> Payment:
        """Hand over the payer's one-time password: see `Payment.needs_otp`. Never repeated by itself.

        A password that the rail refuses leaves the payment waiting for another.
        """
        return await self._run(calls.submit_otp(payment_id, otp))

    async def refund_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        """Give `amount` pesewas back, or all that is left. See `create_payment` for the keys."""
        return await self._run(
            calls.refund_payment(
                payment_id, amount=amount, reason=reason, user_id=user_id, idempotency_key=idempotency_key
            )
        )

    async def get_refund(self, refund_id: str) -> Refund:
        """Read a refund as it stands."""
        return await self._run(calls.get_refund(refund_id))

    async def create_payout(
        self,
        *,
        amount: int,
        msisdn: str,
        reference: str,
        currency: str = "GHS",
        name: str | None = None,
        network: Network | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        expires_in: int | None = None,
        rail: str | None = None,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Payout:
        """Send `amount` pesewas to a wallet; `name` is its holder's. See `create_payment` for the rest."""
        return await self._run(
            calls.create_payout(
                amount=amount,
                msisdn=msisdn,
                reference=reference,
                currency=currency,
                name=name,
                network=network,
                description=description,
                metadata=metadata,
                expires_in=expires_in,
                rail=rail,
                user_id=user_id,
                idempotency_key=idempotency_key,
            )
        )

    async def get_payout(self, payout_id: str) -> Payout:
        """Read a payout as it stands."""
        return await self._run(calls.get_payout(payout_id))

    async def balance(self, *, currency: str = "GHS") -> Balance:
        """Read what may be refunded or paid out in the mode of the key."""
        return await self._run(calls.balance(currency))

    async def list_events(self, *, after: str | None = None, limit: int | None = None) -> Page[Event]:
        """Read one page of events, oldest first. `after` is the id of the last event that you have seen."""
        return await self._run(calls.list_events(after=after, limit=limit))

    async def events(self, *, after: str | None = None, limit: int | None = None) -> AsyncIterator[Event]:
        """Go through all events behind the event `after`, oldest first, and stop at the present one.

        None is left out: keep the id of the last one, and go on from there when webhooks were missed.
        """
        while True:
            page = await self.list_events(after=after, limit=limit)
            for event in page:
                after = event.id
                yield event
            if not page.has_more:
                return

    async def redeliver_event(self, event_id: str) -> Redelivery:
        """Have an event sent once more to each enabled endpoint."""
        return await self._run(calls.redeliver_event(event_id))

    async def create_webhook_endpoint(
        self, url: str, *, types: Sequence[str] | None = None
    ) -> WebhookEndpoint:
        """Have events sent to `url`; `types`: only these. The answer shows the signing secret, this once."""
        return await self._run(calls.create_webhook_endpoint(url, types))

    async def list_webhook_endpoints(self) -> Page[WebhookEndpoint]:
        """Read all endpoints, oldest first."""
        return await self._run(calls.list_webhook_endpoints())

    async def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        """Read an endpoint."""
        return await self._run(calls.get_webhook_endpoint(endpoint_id))

    async def update_webhook_endpoint(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        status: Literal["enabled", "disabled"] | None = None,
    ) -> WebhookEndpoint:
        """Change what is named. One that was disabled because it failed too long is enabled again here."""
        return await self._run(
            calls.update_webhook_endpoint(endpoint_id, url=url, types=types, status=status)
        )

    async def rotate_webhook_secret(self, endpoint_id: str) -> WebhookEndpoint:
        """Make a new signing secret and show it, this once. The former one signs on beside it for a day."""
        return await self._run(calls.rotate_webhook_secret(endpoint_id))

    async def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        """Stop all delivery to an endpoint."""
        await self._run(calls.delete_webhook_endpoint(endpoint_id))

    async def health(self) -> Health:
        """Ask whether the service takes payments, and what is not as it should be."""
        return await self._run(calls.health())

    async def wait(self, order: Order, *, timeout_s: float = 300.0, every_s: float = 1.0) -> Order:
        """Read a payment, refund or payout until it has ended, for `timeout_s` seconds at most.

        Comes back earlier with a payment that needs the payer's one-time password. Look at `.ended`.
        """
        end = time.monotonic() + timeout_s
        while goes_on(order) and time.monotonic() < end:
            await self._sleep(every_s)
            order = await self._run(calls.again(order))
        return order

    async def _run(self, call: Call[T]) -> T:
        policy = self._repeating if call.repeatable else self._careful
        try:
            return await policy.call(self._once, call)
        except TimeoutError as error:
            raise APIConnectionError(str(error), call.key, sent=False) from error

    async def _once(self, call: Call[T]) -> T:
        left = remaining()
        limit = self._attempt_timeout_s if left is None else min(left, self._attempt_timeout_s)
        return call.result(await self._connections.exchange(call, max(limit, 0.001)))
