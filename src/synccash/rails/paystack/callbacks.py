"""Paystack's events: signed with the account's secret key, and hints all the same."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import cast

from synccash.payments.rail import CallbackNote
from synccash.rails.answers import json_object
from synccash.rails.transport import decode_object

SIGNATURE = "x-paystack-signature"
_OURS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    re.ASCII,
)
_NAMED_IN: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # A dispute of a charge names the transaction that it takes back.
    "charge": (("reference",), ("transaction", "reference")),
    "transfer": (("reference",),),
    # An event of a refund may carry the debit's reference alone.
    "refund": (("merchant_note",), ("transaction_reference",)),
}
"""Where the data of each kind of event carries our reference: paths of names, the first that fits counts.

Reversals (`transfer.reversed`, `charge.dispute.…`, `refund.…`) are events like any other: a hint to ask.
"""


def read_event(secret_key: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
    """Return whom an event is about; None where it is not signed with this key, or is about none of ours.

    The signature is the hexadecimal HMAC-SHA512 of the raw body. Header names are in lower case.
    """
    expected = hmac.new(secret_key.encode(), body, hashlib.sha512).hexdigest()
    given = headers.get(SIGNATURE, "").strip().lower()
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        return None
    event = decode_object(body) or {}
    kind, data = str(event.get("event")).partition(".")[0], event.get("data")
    if kind not in _NAMED_IN or not isinstance(data, dict):
        return None
    references = (_ours(cast("dict[str, object]", data), path) for path in _NAMED_IN[kind])
    reference = next(filter(None, references), None)
    return CallbackNote(reference=reference) if reference else None


def _ours(data: Mapping[str, object], path: tuple[str, ...]) -> str | None:
    for name in path[:-1]:
        data = json_object(data.get(name))
    text = data.get(path[-1])
    found = _OURS.search(text) if isinstance(text, str) else None
    return found[0] if found else None
