"""Interprets MTN MoMo's answers by pure tables: the error code is read before the HTTP status.

MTN answers mistakes of the set-up with HTTP 500, so a status alone says little. An answer in no table is
AMBIGUOUS after a send and no information after an inquiry. Source of codes and statuses: MTN's developer
portal, "Common Error Codes" and the operations' own pages.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from synccash.payments.failure import FailureCode
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
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
    pesewas,
    read_transaction_id,
    refused,
    succeeded,
    unanswered,
    unanswered_float,
    wrong_reference,
)
from synccash.rails.http.transport import Exchange, TransportFailure
from synccash.resilience.evidence import Evidence

_EVERYWHERE: Mapping[str, Meaning] = {
    "NOT_ALLOWED": ACCOUNT_SET_UP,
    "NOT_ALLOWED_TARGET_ENVIRONMENT": ACCOUNT_SET_UP,
    "INVALID_CALLBACK_URL_HOST": ACCOUNT_SET_UP,
    "INVALID_CURRENCY": ACCOUNT_SET_UP,
    "TRANSFER_TYPE_UNKNOWN": ACCOUNT_SET_UP,
    "SERVICE_UNAVAILABLE": PROVIDER_UNAVAILABLE,
    "RESOURCE_NOT_FOUND": PROVIDER_FAULT,
    "INTERNAL_PROCESSING_ERROR": UNCLEAR,  # MTN: mostly a wallet without enough money
}
_COLLECT: Mapping[str, Meaning] = {
    "PAYER_NOT_FOUND": (FailureCode.INVALID_PAYER, False),
    "NOT_ENOUGH_FUNDS": (FailureCode.INSUFFICIENT_FUNDS, False),
    "PAYER_LIMIT_REACHED": (FailureCode.PAYER_LIMIT_REACHED, False),
    "PAYMENT_NOT_APPROVED": (FailureCode.PAYER_DECLINED, False),
    "APPROVAL_REJECTED": (FailureCode.PAYER_DECLINED, False),
    "TRANSACTION_CANCELED": (FailureCode.PAYER_DECLINED, False),
    "EXPIRED": (FailureCode.PAYER_TIMEOUT, False),
    "COULD_NOT_PERFORM_TRANSACTION": (FailureCode.PAYER_TIMEOUT, False),  # not approved within 5 minutes
    # The payee of a collection is our own account.
    "PAYEE_NOT_FOUND": ACCOUNT_SET_UP,
    "PAYEE_NOT_ALLOWED_TO_RECEIVE": ACCOUNT_SET_UP,
}
# Here our own account is the payer, and the customer is the payee.
_SENT_OUT: Mapping[str, Meaning] = {
    "PAYEE_NOT_FOUND": (FailureCode.INVALID_PAYER, False),
    "PAYEE_NOT_ALLOWED_TO_RECEIVE": (FailureCode.PAYER_ACCOUNT_BLOCKED, False),
    "NOT_ENOUGH_FUNDS": (FailureCode.MERCHANT_ACCOUNT_BLOCKED, False),
    "PAYER_LIMIT_REACHED": (FailureCode.MERCHANT_ACCOUNT_BLOCKED, False),
    "PAYER_NOT_FOUND": ACCOUNT_SET_UP,
    "PAYMENT_NOT_APPROVED": UNCLEAR,
    "APPROVAL_REJECTED": UNCLEAR,
    "TRANSACTION_CANCELED": UNCLEAR,
    "EXPIRED": UNCLEAR,
    "COULD_NOT_PERFORM_TRANSACTION": UNCLEAR,
}
# Only a payout may go to another rail when our own account cannot pay: a refund has no other rail.
REASONS: Mapping[Operation, Mapping[str, Meaning]] = {
    Operation.COLLECT: {**_EVERYWHERE, **_COLLECT},
    Operation.REFUND: {**_EVERYWHERE, **_SENT_OUT},
    Operation.PAYOUT: {
        **_EVERYWHERE,
        **_SENT_OUT,
        "NOT_ENOUGH_FUNDS": OWN_FLOAT,
        "PAYER_LIMIT_REACHED": OWN_FLOAT,
    },
}
"""Why MTN ended or refused a request, by operation."""

STILL_GOING = frozenset({"ONGOING", "PAYER_DELAYED"})
"""Reasons of a request that has not ended, also next to the status FAILED."""

_AFTER_THE_PROMPT = frozenset(
    {
        "PAYMENT_NOT_APPROVED",
        "APPROVAL_REJECTED",
        "TRANSACTION_CANCELED",
        "EXPIRED",
        "COULD_NOT_PERFORM_TRANSACTION",
    }
)
DUPLICATE = "RESOURCE_ALREADY_EXIST"
_NOT_FOUND = "RESOURCE_NOT_FOUND"

# MTN publishes these codes as refusals of a request; INTERNAL_PROCESSING_ERROR is not among them: as the
# answer to a send it may stand for a request that went through.
_SEND_CODES: Mapping[str, Evidence] = {
    **dict.fromkeys([*_EVERYWHERE, *_COLLECT], Evidence.REFUSED_FINAL),
    "BAD_REQUEST": Evidence.REFUSED_FINAL,
    "SERVICE_UNAVAILABLE": Evidence.REFUSED_LATER,
    "INTERNAL_PROCESSING_ERROR": Evidence.AMBIGUOUS,
    # MTN has accepted the request. Only an inquiry tells its status.
    **dict.fromkeys(_AFTER_THE_PROMPT | STILL_GOING, Evidence.AMBIGUOUS),
}
# Statuses without a code of MTN's: its gateway refused the request, which did not reach MTN. They do not
# count with a web page as body, which any proxy may have written, also on the way back.
_SEND_STATUSES: Mapping[int, tuple[Evidence, Meaning]] = {
    400: (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    401: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    403: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    404: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    429: (Evidence.REFUSED_LATER, PROVIDER_UNAVAILABLE),
}
_TURNED_AWAY = frozenset({401, 403, 429})
_STATUSES: Mapping[str, RailStatus] = {
    "PENDING": RailStatus.PENDING,
    "SUCCESSFUL": RailStatus.SUCCEEDED,
    "FAILED": RailStatus.FAILED,
}
_APPROVE = NextAction(
    NextActionType.APPROVE_ON_PHONE,
    "Approve the payment with your MoMo PIN on your phone. No prompt? Dial *170# and open My Approvals.",
)
_NUMBER = re.compile(r"[0-9]{9,15}", re.ASCII)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}", re.ASCII)


def judge_send(answer: Exchange | TransportFailure, operation: Operation) -> SendAnswer:
    """Return what one send is known to have done."""
    if isinstance(answer, TransportFailure):
        return unanswered(answer)
    body = answer.json_object()
    code = error_code(answer, body)
    if code == DUPLICATE:
        return _accepted(answer, operation, duplicate=True)
    is_readable = is_legible(answer, body)
    if answer.status == 202 and is_readable:
        return _accepted(answer, operation, duplicate=False)
    if code is not None and code in _SEND_CODES:
        meaning = REASONS[operation].get(code, PROVIDER_FAULT)
        return refused(answer, _SEND_CODES[code], meaning, code)
    # An unknown code makes the answer unknown, unless the gateway refused the caller.
    names_no_code = body is None or "code" not in body
    if answer.status in _SEND_STATUSES and is_readable and (names_no_code or answer.status in _TURNED_AWAY):
        return refused(answer, *_SEND_STATUSES[answer.status], code)
    return refused(answer, Evidence.AMBIGUOUS, PROVIDER_FAULT, code)


def judge_status(
    answer: Exchange | TransportFailure,
    operation: Operation,
    reference: str,
    currency: str,
    details: AttemptDetails = NO_ATTEMPT_DETAILS,
) -> StatusAnswer:
    """Return the status of a request by MTN's own answer about `reference` and no other.

    MTN's answer repeats `externalId`, in which every request carries our reference. Amounts in another
    currency than `currency` are not read as ours.
    """
    if isinstance(answer, TransportFailure):
        return no_response(answer)
    body = answer.json_object()
    code = error_code(answer, body)
    if code == _NOT_FOUND and answer.status == 404:
        return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND, provider_code=code)
    if answer.status != 200 or body is None:
        return no_status(answer, code)
    named: object = body.get("externalId")
    if named is not None and named != reference:
        return wrong_reference(named)
    if named is None and not _matches_details(body, details):
        return no_information("unnamed_reference")
    shown = None if named is None else reference
    return replace(_read_status(body, operation, currency), wallet=_wallet(body), reference=shown)


def _matches_details(body: Mapping[str, Any], details: AttemptDetails) -> bool:
    """Return True where an answer without a reference has the wallet and the amount of the attempt."""
    amount = pesewas(body.get("amount"))
    wallet = _wallet(body)
    return None not in (amount, wallet) and (amount, wallet) == (details.amount, details.msisdn)


def _wallet(body: Mapping[str, Any]) -> str | None:
    """Return the number of the one party that MTN names by its number."""
    parties = [body[side] for side in ("payer", "payee") if isinstance(body.get(side), dict)]
    named = {str(cast("dict[str, object]", party).get("partyId")).removeprefix("+") for party in parties}
    number = named.pop() if len(named) == 1 else ""
    return number if _NUMBER.fullmatch(number) else None


def _read_status(body: Mapping[str, Any], operation: Operation, currency: str) -> StatusAnswer:
    """Read a status that is about our own request."""
    word = body.get("status")
    status_at_rail = _STATUSES.get(word) if isinstance(word, str) else None
    if status_at_rail is None:
        return no_information("unknown_status")
    transaction = _transaction_id(body)
    if status_at_rail is RailStatus.SUCCEEDED:
        return _succeeded(body, currency, transaction)
    reason = _reason(body)
    if status_at_rail is RailStatus.FAILED and reason not in STILL_GOING:
        return failed(REASONS[operation].get(reason or "", UNCLEAR), reason, transaction)
    action = _APPROVE if operation is Operation.COLLECT else None
    return StatusAnswer(
        status_at_rail=RailStatus.PENDING,
        provider_code=reason,
        provider_transaction_id=transaction,
        next_action=action,
    )


def judge_balance(answer: Exchange | TransportFailure, currency: str) -> FloatAnswer:
    """Read the balance of the disbursement account: `{"availableBalance": "1000.50", "currency": "GHS"}`.

    Source: MTN's developer portal, Disbursement, "Get Account Balance".
    """
    if isinstance(answer, TransportFailure):
        return unanswered_float(answer)
    body = answer.json_object()
    if answer.status != 200 or body is None:
        code = error_code(answer, body)
        unread = no_float(answer, code)
        return replace(unread, is_fault=False) if _EVERYWHERE.get(code or "") == ACCOUNT_SET_UP else unread
    available = balance(body.get("availableBalance"))
    if available is None or body.get("currency") != currency:
        return FloatAnswer(provider_code="unreadable_balance")
    return FloatAnswer(available={None: available})


def error_code(answer: Exchange, body: Mapping[str, Any] | None) -> str | None:
    """Return the code of MTN's error; only an HTTP error carries one."""
    if answer.status < 400 or body is None:
        return None
    return matching(body.get("code"), _CODE)


def _accepted(answer: Exchange, operation: Operation, *, duplicate: bool) -> SendAnswer:
    return accepted(
        answer,
        next_action=_APPROVE if operation is Operation.COLLECT else None,
        provider_code=DUPLICATE if duplicate else None,
        duplicate=duplicate,
    )


def _succeeded(body: Mapping[str, Any], currency: str, transaction: str | None) -> StatusAnswer:
    amount = body.get("amount")
    return succeeded(
        amount,
        pesewas(amount),
        transaction,
        # MTN's own sandbox takes euros in place of cedis. Orders are in cedis on both.
        currency="GHS" if "currency" in body else None,
        is_our_currency=body.get("currency", currency) == currency,
    )


def _reason(body: Mapping[str, Any]) -> str | None:
    """Return the reason, which is a normalized string on some of MTN's platforms and an object on others."""
    reason: object = body.get("reason")
    return matching(reason if isinstance(reason, str) else json_object(reason).get("code"), _CODE)


def _transaction_id(body: Mapping[str, Any]) -> str | None:
    number: object = body.get("financialTransactionId")
    is_number = isinstance(number, int) and not isinstance(number, bool)
    return read_transaction_id(str(number) if is_number else number)
