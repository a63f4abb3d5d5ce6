"""Faults of a rail's records: wrong amounts, currencies and references, contradictory status responses."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from synccash.sandbox.values import major_units
from synccash.sandbox.wire import Reply

OTHER_AMOUNT = "other_amount"
OTHER_CURRENCY = "other_currency"
OTHER_REFERENCE = "other_reference"
NOT_FOUND_AFTER_FOUND = "not_found_after_found"
FAILED_THEN_SUCCESS = "failed_then_success"
CALLBACK_FAILURE = "callback_failure"
REVERSED = "reversed"

REPEATS = 3
"""How many status responses of one order are wrong before the rail responds correctly again."""
EXCESS = 100
"""Pesewas by which the amount that moved exceeds the requested amount."""
CURRENCY = "NGN"
REFERENCE = "00000000-0000-4000-8000-000000000000"

_CURRENCY_KEYS = frozenset({"currency", "currencyCode"})
_REFERENCE_KEYS = frozenset(
    {"externalId", "reference", "clientReference", "ClientReference", "depositId", "payoutId", "refundId"}
)


def is_hit(name: str, reference: str, rate: float) -> bool:
    """Return whether fault `name` applies to a reference. The result is deterministic."""
    digest = sha256(f"{name} {reference}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 < rate


def with_other_currency(reply: Reply) -> Reply:
    """Return a status response with another currency; unchanged if it has none."""
    return _replaced(reply, _CURRENCY_KEYS, CURRENCY)


def with_other_reference(reply: Reply) -> Reply:
    """Return a status response with another reference; unchanged if it has none."""
    return _replaced(reply, _REFERENCE_KEYS, REFERENCE)


def _replaced(reply: Reply, keys: frozenset[str], value: str) -> Reply:
    if reply.status != 200:
        return reply
    body = msgspec.json.decode(reply.body, type=dict[str, Any])
    data: object = body.get("data", body.get("Data"))
    target: dict[str, Any] = data if isinstance(data, dict) else body  # pyright: ignore[reportUnknownVariableType]
    named = keys & target.keys()
    if not named:
        return reply
    target.update(dict.fromkeys(named, value))
    return msgspec.structs.replace(reply, body=msgspec.json.encode(body))


def details_of_amount(details: Mapping[str, Any], amount: int) -> dict[str, Any]:
    """Return an order's details with another amount, if the rail stores the amount there."""
    if "amount" not in details:
        return dict(details)
    return {**details, "amount": major_units(amount)}
