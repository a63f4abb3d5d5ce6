"""Reads Paystack's events. They are signed with the account's secret key, and are hints like any callback."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import cast

from synccash.payments.rail import CallbackNote
from synccash.rails.answers import json_object
from synccash.rails.http.transport import decode_object
from synccash.settings.secret import Secret

SIGNATURE = "x-paystack-signature"
_REFERENCE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    re.ASCII,
)
_REFERENCE_PATHS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # A dispute of a charge names the transaction that it reverses.
    "charge": (("reference",), ("transaction", "reference")),
    "transfer": (("reference",),),
    # An event of a refund may carry the debit's reference alone.
    "refund": (("merchant_note",), ("transaction_reference",)),
}
"""Where the data of each kind of event carries our reference: paths of names; the first match counts.

Reversals (`transfer.reversed`, `charge.dispute.…`, `refund.…`) are events like any other: a hint to ask.
"""


def read_event(secret_key: Secret, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
    """Return the reference that an event is about; None for a wrong signature, or if it names none of ours.

    The signature is the hexadecimal HMAC-SHA512 of the raw body. Header names are in lower case.
    """
    expected = hmac.new(secret_key.reveal().encode(), body, hashlib.sha512).hexdigest()
    given = headers.get(SIGNATURE, "").strip().lower()
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        return None
    event = decode_object(body) or {}
    kind, data = str(event.get("event")).partition(".")[0], event.get("data")
    if kind not in _REFERENCE_PATHS or not isinstance(data, dict):
        return None
    references = (_find_reference(cast("dict[str, object]", data), path) for path in _REFERENCE_PATHS[kind])
    reference = next(filter(None, references), None)
    return CallbackNote(reference=reference) if reference else None


def _find_reference(data: Mapping[str, object], path: tuple[str, ...]) -> str | None:
    for name in path[:-1]:
        data = json_object(data.get(name))
    text = data.get(path[-1])
    found = _REFERENCE.search(text) if isinstance(text, str) else None
    return found[0] if found else None
