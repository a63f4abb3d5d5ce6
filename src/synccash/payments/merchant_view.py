"""What a merchant sees of an order's timeline.

Operators' notes, the rules and scores of risk checks, and the fraud service's reasons are private: a merchant
sees one of the reasons of a closed list instead. A merchant who knows why exactly an order was held can warn
the payer or avoid the rule; the Anti-Money Laundering Act, 2020 (Act 1044) forbids to disclose a report.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

from synccash.payments.case import Entry
from synccash.payments.document import Document, entry_document
from synccash.payments.receipts import Receipt

_Facts = Mapping[str, Any]


class PublicReason(StrEnum):
    """The closed list of reasons that a merchant sees for a decision about risk."""

    POSSIBLE_DUPLICATE = "possible_duplicate"
    """A similar order was made shortly before: same payer and amount."""
    LIMIT_EXCEEDED = "limit_exceeded"
    """The order passes a limit on the amount or the number of orders."""
    RISK_POLICY = "risk_policy"
    """Any other rule of the operator or of the fraud service."""
    OPERATOR_DECISION = "operator_decision"
    """A person decided."""


_PUBLIC_REASONS: Mapping[str, PublicReason] = {
    "looks_like_a_double": PublicReason.POSSIBLE_DUPLICATE,
    **dict.fromkeys(
        (
            "above_ceiling",
            "above_tier_ceiling",
            "payer_too_often",
            "payer_too_much",
            "payee_too_often",
            "payee_too_much",
            "merchant_too_often",
            "merchant_too_much",
        ),
        PublicReason.LIMIT_EXCEEDED,
    ),
}
"""By the code of the rule; every other code is RISK_POLICY."""


def public_reasons(codes: Sequence[object]) -> list[str]:
    """Return the public reasons of rule codes, each once, in the order of the list above."""
    shown = {_PUBLIC_REASONS.get(str(code), PublicReason.RISK_POLICY) for code in codes}
    return [reason.value for reason in PublicReason if reason in shown]


def _whole(data: _Facts) -> _Facts:
    return data


def _operator_decision(_data: _Facts) -> _Facts:
    return {"reasons": [PublicReason.OPERATOR_DECISION.value]}


def _refund(data: _Facts) -> _Facts:
    """Return the facts of a refund; one that an operator made carries the operator's name and note."""
    shown = {name: data[name] for name in ("refund", "amount") if name in data}
    return {**shown, **_operator_decision(data)} if "by" in data else shown


def _risk_decision(data: _Facts) -> _Facts:
    # Stored entries may have any shape: an order must be readable whatever a former release wrote.
    codes = data.get("reasons") or ()
    listed = cast("Sequence[object]", codes) if isinstance(codes, list | tuple) else (codes,)
    return {"outcome": data.get("outcome"), "reasons": public_reasons(listed)}


_SHOWN: Mapping[str, Callable[[_Facts], _Facts]] = {
    "risk_assessed": _risk_decision,
    "screened": _risk_decision,
    "approved": _operator_decision,
    "declined": _operator_decision,
    "resolved": _operator_decision,
    "refund_created": _refund,
    **dict.fromkeys(
        (
            "created",
            "routed",
            "queued",
            "held",
            "sent",
            "sent_again",
            "rail_answered",
            "inquired",
            "searched",
            "adopted",
            "parked",
            "canceled",
            "expired",
            "contradiction",
            "otp_submitted",
            "otp_answered",
            *(receipt.value for receipt in Receipt),
        ),
        _whole,
    ),
}
"""What of an entry's facts a merchant sees, by its kind; of a kind that is not listed only time and kind."""


def _nothing(_data: _Facts) -> _Facts:
    return {}


def merchant_entry_document(entry: Entry) -> Document:
    """Render one timeline entry for the merchant whose order it is."""
    facts = _SHOWN.get(entry.kind, _nothing)(entry.data)
    return entry_document(Entry(at=entry.at, kind=entry.kind, data=facts))
