"""The client for asyncio programs. It speaks through aiohttp: `pip install 'synccash[client]'`."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp

from synccash.client import calls
from synccash.client.calls import RETRY, Answer, Call
from synccash.client.errors import APIConnectionError
from synccash.client.models import Page, Payment, Refund
from synccash.resilience import Policy

T = TypeVar("T")


class AsyncSyncCash:
    """Asks a SyncCash service for money. Use it inside one event loop; close it, or use `async with`.

    A call that gets no answer, or a "later", is repeated under the same idempotency key for `timeout_s`
    seconds in all, so that money moves once however often it was sent.

    >>> async with AsyncSyncCash("http://localhost:8000", "sk_test_…") as cash:
    ...     payment = await cash.create_payment(amount=2500, msisdn="0241234567", reference="order 1")
    ...     payment = await cash.wait(payment.id)
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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: expected http(s)://host[:port] of a SyncCash service")
        self._base = url.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self._api_key = api_key
        self._attempt_timeout = aiohttp.ClientTimeout(total=attempt_timeout_s, ceil_threshold=float("inf"))
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._policy = Policy(
            "synccash",
            retry=RETRY,
            total_timeout=timeout_s,
            interrupt=False,
            classify=calls.judge,
            sleep=sleep,
        )

    async def __aenter__(self) -> "AsyncSyncCash":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def create_payment(
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
                idempotency_key=idempotency_key,
            )
        )

    async def refund_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        """Give `amount` pesewas back, or all that is left. Raises SyncCashError."""
        return await self._run(
            calls.refund_payment(payment_id, amount=amount, reason=reason, idempotency_key=idempotency_key)
        )

    async def get_payment(self, payment_id: str) -> Payment:
        """Read a payment as it stands. Raises SyncCashError."""
        return await self._run(calls.get_payment(payment_id))

    async def get_refund(self, refund_id: str) -> Refund:
        """Read a refund as it stands. Raises SyncCashError."""
        return await self._run(calls.get_refund(refund_id))

    async def cancel_payment(self, payment_id: str) -> Payment:
        """Call a payment off while no money may have moved. Raises SyncCashError."""
        return await self._run(calls.cancel_payment(payment_id))

    async def list_payments(
        self,
        *,
        status: str | None = None,
        reference: str | None = None,
        payer: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page:
        """Read one page of payments, newest first. Raises SyncCashError."""
        return await self._run(
            calls.list_payments(status=status, reference=reference, payer=payer, after=after, limit=limit)
        )

    async def payments(
        self, *, status: str | None = None, reference: str | None = None, payer: str | None = None
    ) -> AsyncIterator[Payment]:
        """Go through all payments, newest first; pages are read as they are needed. Raises SyncCashError."""
        after: str | None = None
        while True:
            page = await self.list_payments(status=status, reference=reference, payer=payer, after=after)
            for payment in page:
                yield payment
            if not page.has_more:
                return
            after = page.next

    async def wait(self, payment_id: str, *, timeout_s: float = 300.0, every_s: float = 1.0) -> Payment:
        """Read a payment until it has ended, or for `timeout_s` seconds; look at `.ended`."""
        end = time.monotonic() + timeout_s
        payment = await self.get_payment(payment_id)
        while not payment.ended and time.monotonic() < end:
            await self._sleep(every_s)
            payment = await self.get_payment(payment_id)
        return payment

    async def _run(self, call: Call[T]) -> T:
        try:
            return await self._policy.call(self._once, call)
        except TimeoutError as error:
            raise APIConnectionError(str(error), call.key) from error

    async def _once(self, call: Call[T]) -> T:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True)
        try:
            async with self._session.request(
                call.method,
                self._base + call.path,
                data=call.body,
                headers=call.headers(self._api_key),
                timeout=self._attempt_timeout,
                allow_redirects=False,
            ) as reply:
                headers = {name.lower(): value for name, value in reply.headers.items()}
                answer = Answer(reply.status, headers, await reply.read())
        except (aiohttp.ClientError, OSError) as error:
            raise APIConnectionError(f"{type(error).__name__}: {error}", call.key) from error
        return call.result(answer)
