"""Builds the request of each API call and the reader of its response, for both clients."""

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from synccash.client.decoding import items, member
from synccash.client.events import Event, Health, Redelivery, WebhookEndpoint
from synccash.client.exchange import Call
from synccash.client.models import Balance, Order, Page, Payment, Payout, Refund, TimelineEntry

T = TypeVar("T")
BASE = "/api/v1"
_ID = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)


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
    user_id: str | None,
    idempotency_key: str | None,
) -> Call[Payment]:
    """Create a payment."""
    body: dict[str, Any] = {
        "amount": amount,
        "currency": currency,
        "payer": _given(msisdn=msisdn, network=network),
        "reference": reference,
        "description": description,
        "metadata": metadata,
        "expires_in": expires_in,
        "rail": rail,
    }
    return _money("/payments", body, Payment.of, idempotency_key, user_id)


def refund_payment(
    payment_id: str,
    *,
    amount: int | None,
    reason: str | None,
    user_id: str | None,
    idempotency_key: str | None,
) -> Call[Refund]:
    """Refund a payment."""
    path = _path("/payments", payment_id, "refunds")
    return _money(path, {"amount": amount, "reason": reason}, Refund.of, idempotency_key, user_id)


def create_payout(
    *,
    amount: int,
    msisdn: str,
    reference: str,
    currency: str,
    name: str | None,
    network: str | None,
    description: str | None,
    metadata: Mapping[str, str] | None,
    expires_in: int | None,
    rail: str | None,
    user_id: str | None,
    idempotency_key: str | None,
) -> Call[Payout]:
    """Create a payout."""
    body: dict[str, Any] = {
        "amount": amount,
        "currency": currency,
        "payee": _given(msisdn=msisdn, network=network, name=name),
        "reference": reference,
        "description": description,
        "metadata": metadata,
        "expires_in": expires_in,
        "rail": rail,
    }
    return _money("/payouts", body, Payout.of, idempotency_key, user_id)


def get_payment(payment_id: str) -> Call[Payment]:
    """Read a payment."""
    return _get(_path(Payment.PATH, payment_id), Payment.of)


def get_refund(refund_id: str) -> Call[Refund]:
    """Read a refund."""
    return _get(_path(Refund.PATH, refund_id), Refund.of)


def get_payout(payout_id: str) -> Call[Payout]:
    """Read a payout."""
    return _get(_path(Payout.PATH, payout_id), Payout.of)


def balance(currency: str) -> Call[Balance]:
    """Read the balance."""
    return _get(_query("/balance", {"currency": currency}), Balance.of)


def again(order: Order) -> Call[Order]:
    """Read the current state of an order."""
    return _get(_path(order.PATH, order.id), order.of)


def list_payments(**where: str | int | None) -> Call[Page[Payment]]:
    """Read a page of payments."""
    return _get(_query("/payments", where), _page_of(Payment.of))


def get_timeline(payment_id: str) -> Call[Page[TimelineEntry]]:
    """Read the timeline of a payment."""
    return _get(_path("/payments", payment_id, "timeline"), _page_of(TimelineEntry.of))


def cancel_payment(payment_id: str) -> Call[Payment]:
    """Cancel a payment. Repeatable: a payment that is already canceled gets the same response."""
    return _change("POST", _path("/payments", payment_id, "cancel"), {}, Payment.of)


def submit_otp(payment_id: str, otp: str) -> Call[Payment]:
    """Submit a one-time password. Not repeatable, because a password is valid for one try."""
    return _change("POST", _path("/payments", payment_id, "otp"), {"otp": otp}, Payment.of, repeatable=False)


def list_events(**where: str | int | None) -> Call[Page[Event]]:
    """Read a page of events."""
    return _get(_query("/events", where), _page_of(Event.of))


def redeliver_event(event_id: str) -> Call[Redelivery]:
    """Deliver an event again. Repeatable, because receivers must accept repeated events anyway."""
    return _change("POST", _path("/events", event_id, "redeliver"), {}, Redelivery.of)


def create_webhook_endpoint(url: str, types: Sequence[str] | None) -> Call[WebhookEndpoint]:
    """Create an endpoint. Not repeatable, because a repeat would create a second endpoint."""
    body = _given(url=url, types=None if types is None else list(types))
    return _change("POST", "/webhook-endpoints", body, WebhookEndpoint.of, repeatable=False)


def list_webhook_endpoints() -> Call[Page[WebhookEndpoint]]:
    """Read all endpoints."""
    return _get("/webhook-endpoints", _page_of(WebhookEndpoint.of))


def get_webhook_endpoint(endpoint_id: str) -> Call[WebhookEndpoint]:
    """Read an endpoint."""
    return _get(_path("/webhook-endpoints", endpoint_id), WebhookEndpoint.of)


def update_webhook_endpoint(
    endpoint_id: str, *, url: str | None, types: Sequence[str] | None, status: str | None
) -> Call[WebhookEndpoint]:
    """Change the given fields of an endpoint."""
    body = _given(url=url, types=None if types is None else list(types), status=status)
    return _change("PATCH", _path("/webhook-endpoints", endpoint_id), body, WebhookEndpoint.of)


def rotate_webhook_secret(endpoint_id: str) -> Call[WebhookEndpoint]:
    """Create a new secret. Not repeatable, because a repeat would replace the secret just created."""
    path, body = _path("/webhook-endpoints", endpoint_id), {"rotate_secret": True}
    return _change("PATCH", path, body, WebhookEndpoint.of, repeatable=False)


def delete_webhook_endpoint(endpoint_id: str) -> Call[None]:
    """Delete an endpoint. Not repeatable, because a repeat would not find the endpoint."""
    path = BASE + _path("/webhook-endpoints", endpoint_id)
    return Call(method="DELETE", path=path, read=lambda _: None, repeatable=False)


def health() -> Call[Health]:
    """Read the service's health. A 503 is a normal response: the service has no database."""
    return Call(method="GET", path="/health/ready", read=Health.of, also=frozenset({503}))


def _money(
    path: str,
    body: Mapping[str, Any],
    read: Callable[[Any], T],
    key: str | None,
    user_id: str | None,
) -> Call[T]:
    return Call(
        method="POST",
        path=BASE + path,
        read=read,
        body=_json(_given(**body)),
        key=str(uuid.uuid4()) if key is None else key,
        user_id=user_id,
    )


def _get(path: str, read: Callable[[Any], T]) -> Call[T]:
    return Call(method="GET", path=BASE + path, read=read)


def _change(
    method: str, path: str, body: Mapping[str, Any], read: Callable[[Any], T], *, repeatable: bool = True
) -> Call[T]:
    return Call(method=method, path=BASE + path, read=read, body=_json(body), repeatable=repeatable)


def _page_of(read: Callable[[Any], T]) -> Callable[[Any], Page[T]]:
    return lambda raw: Page(
        tuple(read(item) for item in items(raw, "data")),
        bool(member(raw, "has_more")),
        member(raw, "next"),
    )


def _path(base: str, object_id: str, *rest: str) -> str:
    if not _ID.fullmatch(object_id):
        raise ValueError(f"expected an id such as pay_… or we_…, got {object_id[:80]!r}")
    return "/".join((base, object_id, *rest))


def _query(path: str, where: Mapping[str, Any]) -> str:
    given = _given(**where)
    return f"{path}?{urlencode(given)}" if given else path


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()
