"""Interprets pawaPay's answers by pure tables: its own status and codes are read before the HTTP status.

An answer in no table is AMBIGUOUS after a send and no information after an inquiry. Source: docs.pawapay.io
v2, "Initiate deposit", "Check deposit status" and the same pages of payouts and refunds, "Failure codes".
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from synccash.payments.failure import FailureCode
from synccash.payments.money import AMOUNT_MAX, from_major
from synccash.payments.payer import Network
from synccash.payments.rail import (
    CallbackNote,
    FloatAnswer,
    NextAction,
    NextActionType,
    Operation,
    RailStatus,
    SendAnswer,
    StatusAnswer,
)
from synccash.rails.answers import (
    ACCOUNT_SET_UP,
    OWN_FLOAT,
    PROVIDER_FAULT,
    PROVIDER_UNAVAILABLE,
    UNCLEAR,
    Meaning,
    accepted,
    balance,
    failed,
    is_legible,
    json_object,
    matching,
    no_float,
    no_information,
    no_response,
    no_status,
    read_transaction_id,
    refused,
    succeeded,
    unanswered,
    unanswered_float,
    wrong_reference,
)
from synccash.rails.http.transport import Exchange, TransportFailure, decode_object
from synccash.resilience.evidence import Evidence

ID_FIELDS: Mapping[Operation, str] = {
    Operation.COLLECT: "depositId",
    Operation.PAYOUT: "payoutId",
    Operation.REFUND: "refundId",
}
"""The field that carries our reference, by operation."""

REFUSALS: Mapping[str, tuple[Evidence, Meaning]] = {
    "NO_AUTHENTICATION": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "AUTHENTICATION_ERROR": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "AUTHORISATION_ERROR": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "HTTP_SIGNATURE_ERROR": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "DEPOSITS_NOT_ALLOWED": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "PAYOUTS_NOT_ALLOWED": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "REFUNDS_NOT_ALLOWED": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "INVALID_CURRENCY": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "INVALID_PROVIDER": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "INVALID_INPUT": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    "INVALID_PARAMETER": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    "MISSING_PARAMETER": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    "UNSUPPORTED_PARAMETER": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    "DUPLICATE_METADATA_FIELD": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    "INVALID_AMOUNT": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, True)),
    "AMOUNT_OUT_OF_BOUNDS": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, True)),
    "AMOUNT_TOO_LARGE": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, False)),
    "INVALID_PHONE_NUMBER": (Evidence.REFUSED_FINAL, (FailureCode.INVALID_PAYER, False)),
    "PROVIDER_TEMPORARILY_UNAVAILABLE": (Evidence.REFUSED_LATER, PROVIDER_UNAVAILABLE),
    "PAWAPAY_WALLET_OUT_OF_FUNDS": (Evidence.REFUSED_FINAL, OWN_FLOAT),
    "NOT_FOUND": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),  # the deposit to refund
    "INVALID_STATE": (Evidence.REFUSED_FINAL, UNCLEAR),  # the deposit to refund has not completed
    # Another refund of the same deposit exists, under an unknown id: the money must not go over another rail.
    "DEPOSIT_ALREADY_REFUNDED": (Evidence.REFUSED_FINAL, UNCLEAR),
    "REFUND_IN_PROGRESS": (Evidence.REFUSED_LATER, UNCLEAR),
}
"""Why pawaPay refuses a request before it does anything. UNKNOWN_ERROR is not among them."""

_UNFINISHED: Mapping[str, Meaning] = {
    "PAWAPAY_WALLET_OUT_OF_FUNDS": OWN_FLOAT,
    "PROVIDER_TEMPORARILY_UNAVAILABLE": PROVIDER_UNAVAILABLE,
    "MANUALLY_CANCELLED": UNCLEAR,
    "UNSPECIFIED_FAILURE": UNCLEAR,
    "UNKNOWN_ERROR": UNCLEAR,
}
_RECIPIENT: Mapping[str, Meaning] = {
    **_UNFINISHED,
    "RECIPIENT_NOT_FOUND": (FailureCode.INVALID_PAYER, False),
    "RECIPIENT_LIMIT_REACHED": (FailureCode.PAYER_LIMIT_REACHED, False),
    "WALLET_LIMIT_REACHED": (FailureCode.PAYER_LIMIT_REACHED, False),
}
REASONS: Mapping[Operation, Mapping[str, Meaning]] = {
    Operation.COLLECT: {
        **_UNFINISHED,
        "PAYER_NOT_FOUND": (FailureCode.INVALID_PAYER, False),
        "PAYMENT_NOT_APPROVED": (FailureCode.PAYER_TIMEOUT, False),  # no PIN in time, or none at all
        "INSUFFICIENT_BALANCE": (FailureCode.INSUFFICIENT_FUNDS, False),
        "PAYER_LIMIT_REACHED": (FailureCode.PAYER_LIMIT_REACHED, False),
        "WALLET_LIMIT_REACHED": (FailureCode.PAYER_LIMIT_REACHED, False),
        # The payer has another prompt open, which a prompt over another rail would meet too. It is not a
        # refusal: as after a time-out, the payer may be asked again later.
        "PAYMENT_IN_PROGRESS": (FailureCode.PAYER_TIMEOUT, False),
        "TRANSACTION_ALREADY_IN_PROCESS": (FailureCode.PAYER_TIMEOUT, False),
    },
    Operation.PAYOUT: _RECIPIENT,
    Operation.REFUND: {
        **_RECIPIENT,
        "DEPOSIT_ALREADY_REFUNDED": UNCLEAR,
        "REFUND_IN_PROGRESS": UNCLEAR,
        "AMOUNT_TOO_LARGE": (FailureCode.AMOUNT_NOT_ALLOWED, False),
    },
}
"""Why pawaPay ended a request that it had accepted, by operation."""

# Statuses without a code of pawaPay's: its gateway refused the caller. They do not count with a web page as
# body.
_TURNED_AWAY: Mapping[int, tuple[Evidence, Meaning]] = {
    401: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    403: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    429: (Evidence.REFUSED_LATER, PROVIDER_UNAVAILABLE),
}
_STATUSES: Mapping[str, RailStatus] = {
    "ACCEPTED": RailStatus.PENDING,
    "ENQUEUED": RailStatus.PENDING,  # payouts and refunds while the network is slow
    "PROCESSING": RailStatus.PENDING,
    "IN_RECONCILIATION": RailStatus.PENDING,
    "COMPLETED": RailStatus.SUCCEEDED,
    "FAILED": RailStatus.FAILED,
}
_APPROVE = NextAction(
    NextActionType.APPROVE_ON_PHONE,
    "Approve the payment with your mobile-money PIN on your phone.",
)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{9,15}", re.ASCII)


def judge_send(answer: Exchange | TransportFailure, operation: Operation, reference: str) -> SendAnswer:
    """Return what one send is known to have done. An answer about another reference proves nothing."""
    if isinstance(answer, TransportFailure):
        return unanswered(answer)
    body = answer.json_object()
    word = None if body is None else body.get("status")
    code = failure_code(body)
    if answer.status == 200 and body is not None and word in ("ACCEPTED", "DUPLICATE_IGNORED"):
        if _is_about(body, operation, reference):
            return _accepted(answer, operation, duplicate=word == "DUPLICATE_IGNORED")
        return refused(answer, Evidence.AMBIGUOUS, PROVIDER_FAULT, "other_reference")
    is_rejected = answer.status == 200 and word == "REJECTED"
    if body is not None and (is_rejected or 400 <= answer.status < 500):
        if code is not None and code in REFUSALS and _is_about(body, operation, reference):
            return refused(answer, *REFUSALS[code], code)
        # The reason is unknown, but REJECTED under our own reference says that pawaPay did nothing.
        if is_rejected and code != "UNKNOWN_ERROR" and body.get(ID_FIELDS[operation]) == reference:
            return refused(answer, Evidence.REFUSED_FINAL, UNCLEAR, code)
    if answer.status in _TURNED_AWAY and code is None and is_legible(answer, body):
        return refused(answer, *_TURNED_AWAY[answer.status], None)
    return refused(answer, Evidence.AMBIGUOUS, PROVIDER_FAULT, code)


def judge_status(
    answer: Exchange | TransportFailure, operation: Operation, reference: str, currency: str
) -> StatusAnswer:
    """Return the status of a request by pawaPay's own answer, which says NOT_FOUND with HTTP 200."""
    if isinstance(answer, TransportFailure):
        return no_response(answer)
    body = answer.json_object()
    if answer.status != 200 or body is None:
        return no_status(answer, failure_code(body))
    if body.get("status") == "NOT_FOUND" and body.get("data") is None:
        return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND, provider_code="NOT_FOUND")
    data = json_object(body.get("data"))
    named: object = data.get(ID_FIELDS[operation])
    if body.get("status") != "FOUND" or named is None:
        return no_information("unnamed_reference" if data else "unknown_status")
    if named != reference:
        return wrong_reference(named)
    return replace(_read_status(data, operation, currency), reference=reference, wallet=_wallet(data))


def _read_status(data: Mapping[str, Any], operation: Operation, currency: str) -> StatusAnswer:
    """Read a status that is about our own request."""
    word: object = data.get("status")
    status_at_rail = _STATUSES.get(word) if isinstance(word, str) else None
    if status_at_rail is None:
        return no_information("unknown_status")
    transaction = _transaction_id(data)
    if status_at_rail is RailStatus.SUCCEEDED:
        return _succeeded(data, currency, transaction)
    if status_at_rail is RailStatus.PENDING:
        return StatusAnswer(
            status_at_rail=status_at_rail,
            provider_transaction_id=transaction,
            next_action=_APPROVE if operation is Operation.COLLECT else None,
        )
    reason = failure_code(data)
    return failed(REASONS[operation].get(reason or "", UNCLEAR), reason, transaction)


def judge_balances(
    answer: Exchange | TransportFailure, networks: Mapping[str, Network], currency: str
) -> FloatAnswer:
    """Read the wallets of Ghana: `{"balances": [{"country": "GHA", "balance": "21798.03", "currency": "GHS",
    "provider": ""}]}`.

    Source: docs.pawapay.io v2, "Wallet balances" and "Wallets": a wallet without a provider pays for the
    whole country, one with a provider for that provider alone. `networks` names ours by pawaPay's providers.
    """
    if isinstance(answer, TransportFailure):
        return unanswered_float(answer)
    body = answer.json_object()
    listed: object = None if body is None else body.get("balances")
    if answer.status != 200 or not isinstance(listed, list):
        return no_float(answer, failure_code(body))
    available: dict[Network | None, int] = {}
    for one in cast("list[object]", listed):
        wallet = json_object(one)
        if wallet.get("country") != "GHA" or wallet.get("currency") != currency:
            continue
        provider: object = wallet.get("provider") or ""
        amount = balance(wallet.get("balance"))
        if amount is None or (provider and provider not in networks):
            continue
        available[networks[str(provider)] if provider else None] = amount
    if not available:
        return FloatAnswer(provider_code="unreadable_balance")
    return FloatAnswer(available=available)


def read_callback(raw: bytes) -> CallbackNote | None:
    """Return the reference that a callback is about, or None. The rest is not read: a callback is a hint.

    pawaPay can sign callbacks (RFC 9421). The signature is not verified: an inquiry follows, and only its
    answer counts.
    """
    body = decode_object(raw) or {}
    found = [body[field] for field in ("refundId", "payoutId", "depositId") if field in body]
    reference = _uuid(found[0]) if found else None
    return None if reference is None else CallbackNote(reference=reference)


def failure_code(body: Mapping[str, Any] | None) -> str | None:
    """Return the code of `failureReason`, where there is a legible one."""
    return matching(json_object((body or {}).get("failureReason")).get("failureCode"), _CODE)


def _is_about(body: Mapping[str, Any], operation: Operation, reference: str) -> bool:
    """Return True for our own id or none: a refusal before pawaPay has read the id names none."""
    return body.get(ID_FIELDS[operation], reference) == reference


def _accepted(answer: Exchange, operation: Operation, *, duplicate: bool) -> SendAnswer:
    return accepted(
        answer,
        next_action=_APPROVE if operation is Operation.COLLECT else None,
        provider_code="DUPLICATE_IGNORED" if duplicate else None,
        duplicate=duplicate,
    )


def _succeeded(data: Mapping[str, Any], currency: str, transaction: str | None) -> StatusAnswer:
    amount: object = data.get("amount")
    return succeeded(
        amount,
        _pesewas(amount),
        transaction,
        currency=currency if "currency" in data else None,
        is_our_currency=data.get("currency", currency) == currency,
    )


def _pesewas(amount: object) -> int | None:
    try:
        received = from_major(amount) if isinstance(amount, str) else None
    except ValueError:
        return None
    return received if received is not None and received <= AMOUNT_MAX else None


def _transaction_id(data: Mapping[str, Any]) -> str | None:
    return read_transaction_id(data.get("providerTransactionId"))


def _wallet(data: Mapping[str, Any]) -> str | None:
    party = json_object(data.get("payer")) or json_object(data.get("recipient"))
    return matching(json_object(party.get("accountDetails")).get("phoneNumber"), _NUMBER)


def _uuid(text: object) -> str | None:
    try:
        return str(UUID(text)) if isinstance(text, str) and len(text) == 36 else None
    except ValueError:
        return None
