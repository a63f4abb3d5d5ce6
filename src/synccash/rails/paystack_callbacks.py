"""Paystack's events: signed with the account's secret key, and hints all the same."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import cast

import msgspec

from synccash.payments.rail import CallbackNote

SIGNATURE = "x-paystack-signature"
_OURS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    re.ASCII,
)
_NAMED_IN = {"charge": "reference", "transfer": "reference", "refund": "merchant_note"}
"""Where the data of each kind of event carries our reference."""


def read_event(secret_key: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
    """Return whom an event is about; None where it is not signed with this key, or is about none of ours.

    The signature is the hexadecimal HMAC-SHA512 of the raw body. Header names are in lower case.
    """
    expected = hmac.new(secret_key.encode(), body, hashlib.sha512).hexdigest()
    given = headers.get(SIGNATURE, "").strip().lower()
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        return None
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(decoded, dict):
        return None
    event = cast("dict[str, object]", decoded)
    kind, data = str(event.get("event")).partition(".")[0], event.get("data")
    if kind not in _NAMED_IN or not isinstance(data, dict):
        return None
    named = cast("dict[str, object]", data).get(_NAMED_IN[kind])
    found = _OURS.search(named) if isinstance(named, str) else None
    return CallbackNote(reference=found[0]) if found else None
