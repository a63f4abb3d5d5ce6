"""Each call as a value: what is sent, and how its answer is read. Both clients share it."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from synccash.client.errors import APIConnectionError, APIError, error_for
from synccash.client.models import Page, Payment, Refund
from synccash.resilience import Outcome, Retry, Verdict

T = TypeVar("T")
RETRY = Retry(attempts=4, base=0.5, cap=8.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `key` stays the same over all its repeats, so money moves once."""

    method: str
    path: str
    read: Callable[[Any, bool], T]
    body: bytes | None = None
    key: str | None = None

    def headers(self, api_key: str) -> dict[str, str]:
        """The headers of the request."""
        headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        return headers

    def result(self, answer: Answer) -> T:
        """Read the answer. Raises APIError, APIConnectionError for an answer that nobody of ours wrote."""
        try:
            raw: Any = json.loads(answer.body) if answer.body else {}
        except ValueError:
            reason = f"HTTP {answer.status} with a body that is not JSON: a proxy's page?"
            raise APIConnectionError(reason, self.key) from None
        if answer.status >= 300:
            problem: dict[str, Any] = raw if isinstance(raw, dict) else {}  # pyright: ignore[reportUnknownVariableType]
            error = error_for(answer.status, problem)
            if error.retry_after is None and (wait := answer.headers.get("retry-after", "")).isdigit():
                error.retry_after = float(wait)
            raise error
        return self.read(raw, answer.headers.get("idempotent-replayed") == "true")


_IN_PROGRESS = "idempotency_key_in_progress"


def judge(result: object) -> Verdict:
    """What may be repeated under the same key: no answer, a full or failing service, a running first one."""
    if isinstance(result, APIConnectionError):
        return Verdict(Outcome.FAILED, retry=True)
    if isinstance(result, APIError):
        again = result.status == 429 or result.status >= 500 or result.code == _IN_PROGRESS
        outcome = Outcome.FAILED if result.status >= 500 else Outcome.OK
        return Verdict(outcome, retry=again, retry_after=result.retry_after)
    return Verdict(Outcome.FAILED if isinstance(result, BaseException) else Outcome.OK)


def create_payment(
    *,
    amount: int,
    msisdn: str,
    reference: str,
    currency: str,
    network: str | None,
    description: str | None,
    metadata: Mapping[str, str] | None,
    expires_in: int | None,
    rail: str | None,
    idempotency_key: str | None,
) -> Call[Payment]:
    """Collect money."""
    payer = {"msisdn": msisdn, "network": network}
    body: dict[str, Any] = {
        "amount": amount,
        "currency": currency,
        "payer": {name: value for name, value in payer.items() if value is not None},
        "reference": reference,
        "description": description,
        "metadata": metadata,
        "expires_in": expires_in,
        "rail": rail,
    }
    return _money("/payments", body, _payment, idempotency_key)


def refund_payment(
    payment_id: str, *, amount: int | None, reason: str | None, idempotency_key: str | None
) -> Call[Refund]:
    """Give money back."""
    body = {"amount": amount, "reason": reason}
    return _money(f"/payments/{_part(payment_id)}/refunds", body, _refund, idempotency_key)


def get_payment(payment_id: str) -> Call[Payment]:
    """Read a payment."""
    return Call("GET", f"/payments/{_part(payment_id)}", _payment)


def get_refund(refund_id: str) -> Call[Refund]:
    """Read a refund."""
    return Call("GET", f"/refunds/{_part(refund_id)}", _refund)


def cancel_payment(payment_id: str) -> Call[Payment]:
    """Call a payment off."""
    return Call("POST", f"/payments/{_part(payment_id)}/cancel", _payment, b"{}")


def list_payments(**where: str | int | None) -> Call[Page]:
    """Read a page of payments."""
    query = urlencode({name: value for name, value in where.items() if value is not None})
    return Call("GET", f"/payments?{query}" if query else "/payments", lambda raw, _: Page.of(raw))


def _money(path: str, body: Mapping[str, Any], read: Callable[[Any, bool], T], key: str | None) -> Call[T]:
    given = {name: value for name, value in body.items() if value is not None}
    return Call("POST", path, read, json.dumps(given).encode(), key or str(uuid.uuid4()))


def _payment(raw: Any, replayed: bool) -> Payment:  # noqa: FBT001 - one shape for all readers
    return Payment.of(raw, replayed=replayed)


def _refund(raw: Any, replayed: bool) -> Refund:  # noqa: FBT001
    return Refund.of(raw, replayed=replayed)


def _part(text: str) -> str:
    return quote(text, safe="")
