"""The client for ordinary programs: one call, one answer. Standard library only.

Generated from `aio.py` by `tools/sync_client.py`: edit that file, then run `make generate`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, TypeVar

from synccash.client import calls
from synccash.client.connections import Connections
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


class SyncCash:
    """Calls the API of a SyncCash service. Safe to share between threads; close it, or use `with`.

    A call that fails without a response, or with a temporary error, is repeated if that is safe, for
    `timeout_s` seconds in total. A repeat has the same idempotency key, so money moves once.
    `attempt_timeout_s` limits the wait for one response. Inside `with deadline(seconds):` the earlier end
    applies.

    Every call raises SyncCashError, and ValueError for arguments that cannot be sent.

    >>> with SyncCash("http://localhost:8000", "sk_test_…") as cash:
    ...     payment = cash.create_payment(amount=2500, msisdn="0241234567", reference="order 1")
    ...     payment = cash.wait(payment)
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 30.0,
        attempt_timeout_s: float = 15.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connections = Connections(Service.at(url, api_key))
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
                sleep_sync=sleep,
            )
            for repeatable in (False, True)
        )

    def __enter__(self) -> "SyncCash":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()

    def create_payment(
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
        """Collect `amount` pesewas from a wallet.

        `expires_in` is in seconds. `rail` selects one rail, without fail-over to others.
        Pass an `idempotency_key` of your own if your program may restart and repeat the call. `user_id` is
        your id of the end user, for rate limits.
        """
        return self._run(
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

    def get_payment(self, payment_id: str) -> Payment:
        """Read the current state of a payment."""
        return self._run(calls.get_payment(payment_id))

    def list_payments(
        self,
        *,
        status: PaymentStatus | None = None,
        reference: str | None = None,
        payer: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Payment]:
        """Read one page of payments, newest first. `after` is the `next` of the previous page."""
        return self._run(
            calls.list_payments(status=status, reference=reference, payer=payer, after=after, limit=limit)
        )

    def payments(
        self,
        *,
        status: PaymentStatus | None = None,
        reference: str | None = None,
        payer: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Payment]:
        """Iterate over all payments, newest first. Pages of `limit` payments are read when needed."""
        after: str | None = None
        while True:
            page = self.list_payments(
                status=status, reference=reference, payer=payer, after=after, limit=limit
            )
            yield from page
            if not page.has_more:
                return
            after = page.next

    def get_timeline(self, payment_id: str) -> Page[TimelineEntry]:
        """Read the timeline of a payment and its refunds, oldest entry first."""
        return self._run(calls.get_timeline(payment_id))

    def cancel_payment(self, payment_id: str) -> Payment:
        """Cancel a payment. Raises PaymentInFlightError once money may have moved."""
        return self._run(calls.cancel_payment(payment_id))

    def submit_otp(self, payment_id: str, otp: str) -> Payment:
        """Submit the payer's one-time password: see `Payment.needs_otp`. The client never repeats this call.

        If the rail rejects the password, the payment waits for another one.
        """
        return self._run(calls.submit_otp(payment_id, otp))

    def refund_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        user_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        """Refund `amount` pesewas, or all that is left. See `create_payment` for `idempotency_key` and
        `user_id`."""
        return self._run(
            calls.refund_payment(
                payment_id, amount=amount, reason=reason, user_id=user_id, idempotency_key=idempotency_key
            )
        )

    def get_refund(self, refund_id: str) -> Refund:
        """Read the current state of a refund."""
        return self._run(calls.get_refund(refund_id))

    def create_payout(
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
        """Send `amount` pesewas to a wallet. `name` is the name of its holder; for the other arguments see
        `create_payment`."""
        return self._run(
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

    def get_payout(self, payout_id: str) -> Payout:
        """Read the current state of a payout."""
        return self._run(calls.get_payout(payout_id))

    def balance(self, *, currency: str = "GHS") -> Balance:
        """Read the balance, which limits refunds and payouts, in the mode of the API key."""
        return self._run(calls.balance(currency))

    def list_events(self, *, after: str | None = None, limit: int | None = None) -> Page[Event]:
        """Read one page of events, oldest first. `after` is the id of the last event that you have."""
        return self._run(calls.list_events(after=after, limit=limit))

    def events(self, *, after: str | None = None, limit: int | None = None) -> Iterator[Event]:
        """Iterate over all events after the event `after`, oldest first, and stop at the newest.

        No event is skipped: store the id of the last one, and continue from it when webhooks were missed.
        """
        while True:
            page = self.list_events(after=after, limit=limit)
            for event in page:
                after = event.id
                yield event
            if not page.has_more:
                return

    def redeliver_event(self, event_id: str) -> Redelivery:
        """Send an event again to each enabled endpoint."""
        return self._run(calls.redeliver_event(event_id))

    def create_webhook_endpoint(self, url: str, *, types: Sequence[str] | None = None) -> WebhookEndpoint:
        """Create an endpoint that receives all events, or those of `types`. Only this response and that of
        `rotate_webhook_secret` have the signing secret.

        The endpoint is `pending`, and its events are kept, until its server has answered the challenge with
        `answer_challenge`.
        """
        return self._run(calls.create_webhook_endpoint(url, types))

    def list_webhook_endpoints(self) -> Page[WebhookEndpoint]:
        """Read all endpoints, oldest first."""
        return self._run(calls.list_webhook_endpoints())

    def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        """Read an endpoint."""
        return self._run(calls.get_webhook_endpoint(endpoint_id))

    def update_webhook_endpoint(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        status: Literal["enabled", "disabled"] | None = None,
    ) -> WebhookEndpoint:
        """Change the given fields. `status="enabled"` enables an endpoint disabled after failures again, and
        sends a pending one a new challenge. A new `url` has to be verified."""
        return self._run(calls.update_webhook_endpoint(endpoint_id, url=url, types=types, status=status))

    def rotate_webhook_secret(self, endpoint_id: str) -> WebhookEndpoint:
        """Create a new signing secret, which only this response has. The old one stays valid for a day."""
        return self._run(calls.rotate_webhook_secret(endpoint_id))

    def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        """Delete an endpoint and stop all deliveries to it."""
        self._run(calls.delete_webhook_endpoint(endpoint_id))

    def health(self) -> Health:
        """Read whether the service takes payments, and which parts are degraded."""
        return self._run(calls.health())

    def wait(self, order: Order, *, timeout_s: float = 300.0, every_s: float = 1.0) -> Order:
        """Poll a payment, refund or payout until it has ended, for at most `timeout_s` seconds.

        Returns the latest state; check `.ended`. Returns early if a payment needs the payer's one-time
        password.
        """
        end = time.monotonic() + timeout_s
        while goes_on(order) and time.monotonic() < end:
            self._sleep(every_s)
            order = self._run(calls.again(order))
        return order

    def _run(self, call: Call[T]) -> T:
        policy = self._repeating if call.repeatable else self._careful
        try:
            return policy.call_sync(self._once, call)
        except TimeoutError as error:
            raise APIConnectionError(str(error), call.key, sent=False) from error

    def _once(self, call: Call[T]) -> T:
        left = remaining()
        limit = self._attempt_timeout_s if left is None else min(left, self._attempt_timeout_s)
        return call.result(self._connections.exchange(call, max(limit, 0.001)))
