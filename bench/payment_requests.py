"""Requests for payments, ready for the wire."""

import json
import uuid
from typing import Any


def request(method: str, path: str, key: str | None = None, body: Any = None, **headers: str) -> bytes:
    """Return a request as bytes. A body that is not bytes is sent as JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(data)}"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines.append("Content-Type: application/json")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def payment_body(msisdn: str, **more: Any) -> dict[str, Any]:
    """Return the body of a small payment with a reference of its own."""
    return {
        "amount": 100,
        "currency": "GHS",
        "payer": {"msisdn": msisdn},
        "reference": uuid.uuid4().hex,
        **more,
    }


def payer_number(prefix: str, number: int) -> str:
    """Return one of 2,000,000 mobile numbers. Those that end in 400 to 999 are left out: the sandbox's test
    numbers with other outcomes are among them."""
    thousand, rest = divmod(number % 2_000_000, 400)
    return f"{prefix}{thousand:04d}{rest:03d}"


def pay(key: str, msisdn: str, **headers: str) -> bytes:
    """Return a request for a payment with an idempotency key of its own."""
    return request(
        "POST", "/api/v1/payments", key, payment_body(msisdn), Idempotency_Key=uuid.uuid4().hex, **headers
    )
