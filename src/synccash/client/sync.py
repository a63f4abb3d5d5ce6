"""The client for ordinary programs: one call, one answer. Standard library only."""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from synccash.client import calls
from synccash.client.calls import RETRY, Answer, Call
from synccash.client.errors import APIConnectionError
from synccash.client.models import Page, Payment, Refund
from synccash.resilience import Policy

T = TypeVar("T")


class SyncCash:
    """Asks a SyncCash service for money. Safe to share between threads.

    A call that gets no answer, or a "later", is repeated under the same idempotency key for `timeout_s`
    seconds in all, so that money moves once however often it was sent.

    >>> with SyncCash("http://localhost:8000", "sk_test_…") as cash:
    ...     payment = cash.create_payment(amount=2500, msisdn="0241234567", reference="order 1")
    ...     payment = cash.wait(payment.id)
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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: expected http(s)://host[:port] of a SyncCash service")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self._api_key = api_key
        self._attempt_timeout_s = attempt_timeout_s
        self._sleep = sleep
        self._local = threading.local()
        self._policy = Policy(
            "synccash",
            retry=RETRY,
            total_timeout=timeout_s,
            interrupt=False,
            classify=calls.judge,
        )

    def __enter__(self) -> "SyncCash":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def create_payment(
        self,
        *,
        amount: int,
        msisdn: str,
        reference: str,
        currency: str = "GHS",
        network: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        expires_in: int | None = None,
        rail: str | None = None,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Collect `amount` pesewas from a wallet. Raises SyncCashError.

        Give your own `idempotency_key` where your program may restart and ask again.
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
                idempotency_key=idempotency_key,
            )
        )

    def refund_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        """Give `amount` pesewas back, or all that is left. Raises SyncCashError."""
        return self._run(
            calls.refund_payment(payment_id, amount=amount, reason=reason, idempotency_key=idempotency_key)
        )

    def get_payment(self, payment_id: str) -> Payment:
        """Read a payment as it stands. Raises SyncCashError."""
        return self._run(calls.get_payment(payment_id))

    def get_refund(self, refund_id: str) -> Refund:
        """Read a refund as it stands. Raises SyncCashError."""
        return self._run(calls.get_refund(refund_id))

    def cancel_payment(self, payment_id: str) -> Payment:
        """Call a payment off while no money may have moved. Raises SyncCashError."""
        return self._run(calls.cancel_payment(payment_id))

    def list_payments(
        self,
        *,
        status: str | None = None,
        reference: str | None = None,
        payer: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page:
        """Read one page of payments, newest first. Raises SyncCashError."""
        return self._run(
            calls.list_payments(status=status, reference=reference, payer=payer, after=after, limit=limit)
        )

    def payments(
        self, *, status: str | None = None, reference: str | None = None, payer: str | None = None
    ) -> Iterator[Payment]:
        """Go through all payments, newest first; pages are read as they are needed. Raises SyncCashError."""
        page = self.list_payments(status=status, reference=reference, payer=payer)
        yield from page
        while page.has_more:
            page = self.list_payments(status=status, reference=reference, payer=payer, after=page.next)
            yield from page

    def wait(self, payment_id: str, *, timeout_s: float = 300.0, every_s: float = 1.0) -> Payment:
        """Read a payment until it has ended, or for `timeout_s` seconds; look at `.ended`."""
        end = time.monotonic() + timeout_s
        payment = self.get_payment(payment_id)
        while not payment.ended and time.monotonic() < end:
            self._sleep(every_s)
            payment = self.get_payment(payment_id)
        return payment

    def _run(self, call: Call[T]) -> T:
        try:
            return self._policy.call_sync(self._once, call)
        except TimeoutError as error:
            raise APIConnectionError(str(error), call.key) from error

    def _once(self, call: Call[T]) -> T:
        connection = self._connection()
        try:
            connection.request(
                call.method, self._prefix + call.path, body=call.body, headers=call.headers(self._api_key)
            )
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            answer = Answer(reply.status, headers, reply.read())
        except (OSError, http.client.HTTPException) as error:
            with contextlib.suppress(OSError):
                self.close()
            raise APIConnectionError(f"{type(error).__name__}: {error}", call.key) from error
        return call.result(answer)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = kind(self._host, self._port, timeout=self._attempt_timeout_s)
            self._local.connection = connection
        return connection
