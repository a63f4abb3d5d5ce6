"""Interprets pawaPay's answers by pure tables: its own status and codes are read before the HTTP status.

An answer in no table is AMBIGUOUS after a send and no information after an inquiry. Source: docs.pawapay.io
v2, "Initiate deposit", "Check deposit status" and the same pages of payouts and refunds, "Failure codes".
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import msgspec

from synccash.payments.failure import Failure, FailureCode
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
from synccash.rails.answers import about_another, balance, no_information, retry_after_s
from synccash.rails.transport import Exchange, TransportFailure
from synccash.resilience.evidence import Evidence

Meaning = tuple[FailureCode, bool]
"""A failure code, and whether another rail may be tried."""

ID_FIELDS: Mapping[Operation, str] = {
    Operation.COLLECT: "depositId",
    Operation.PAYOUT: "payoutId",
    Operation.REFUND: "refundId",
}
"""Where pawaPay carries our reference."""

_SET_UP: Meaning = (FailureCode.PROVIDER_ACCOUNT_BLOCKED, True)
_AWAY: Meaning = (FailureCode.PROVIDER_UNAVAILABLE, True)
_FAULT: Meaning = (FailureCode.PROVIDER_ERROR, True)
# Not known to be the provider's own fault, so the same wallet is not asked again over another rail.
_UNCLEAR: Meaning = (FailureCode.PROVIDER_ERROR, False)
# Our own wallet with pawaPay is empty: a payout goes to another rail, or waits until it is filled up.
_FLOAT: Meaning = (FailureCode.FLOAT_TOO_LOW, True)

REFUSALS: Mapping[str, tuple[Evidence, Meaning]] = {
    "NO_AUTHENTICATION": (Evidence.REFUSED_FINAL, _SET_UP),
    "AUTHENTICATION_ERROR": (Evidence.REFUSED_FINAL, _SET_UP),
    "AUTHORISATION_ERROR": (Evidence.REFUSED_FINAL, _SET_UP),
    "HTTP_SIGNATURE_ERROR": (Evidence.REFUSED_FINAL, _SET_UP),
    "DEPOSITS_NOT_ALLOWED": (Evidence.REFUSED_FINAL, _SET_UP),
    "PAYOUTS_NOT_ALLOWED": (Evidence.REFUSED_FINAL, _SET_UP),
    "REFUNDS_NOT_ALLOWED": (Evidence.REFUSED_FINAL, _SET_UP),
    "INVALID_CURRENCY": (Evidence.REFUSED_FINAL, _SET_UP),
    "INVALID_PROVIDER": (Evidence.REFUSED_FINAL, _SET_UP),
    "INVALID_INPUT": (Evidence.REFUSED_FINAL, _FAULT),
    "INVALID_PARAMETER": (Evidence.REFUSED_FINAL, _FAULT),
    "MISSING_PARAMETER": (Evidence.REFUSED_FINAL, _FAULT),
    "UNSUPPORTED_PARAMETER": (Evidence.REFUSED_FINAL, _FAULT),
    "DUPLICATE_METADATA_FIELD": (Evidence.REFUSED_FINAL, _FAULT),
    "INVALID_AMOUNT": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, True)),
    "AMOUNT_OUT_OF_BOUNDS": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, True)),
    "AMOUNT_TOO_LARGE": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, False)),
    "INVALID_PHONE_NUMBER": (Evidence.REFUSED_FINAL, (FailureCode.INVALID_PAYER, False)),
    "PROVIDER_TEMPORARILY_UNAVAILABLE": (Evidence.REFUSED_LATER, _AWAY),
    "PAWAPAY_WALLET_OUT_OF_FUNDS": (Evidence.REFUSED_FINAL, _FLOAT),
    "NOT_FOUND": (Evidence.REFUSED_FINAL, _FAULT),  # the deposit to refund
    "INVALID_STATE": (Evidence.REFUSED_FINAL, _UNCLEAR),  # the deposit to refund has not completed
    # Another refund of the same deposit stands, under whose id is not said: nobody sends the money elsewhere.
    "DEPOSIT_ALREADY_REFUNDED": (Evidence.REFUSED_FINAL, _UNCLEAR),
    "REFUND_IN_PROGRESS": (Evidence.REFUSED_LATER, _UNCLEAR),
}
"""Why pawaPay refuses a request: it says so before anything is done. UNKNOWN_ERROR is not among them."""

_UNFINISHED: Mapping[str, Meaning] = {
    "PAWAPAY_WALLET_OUT_OF_FUNDS": _FLOAT,
    "PROVIDER_TEMPORARILY_UNAVAILABLE": _AWAY,
    "MANUALLY_CANCELLED": _UNCLEAR,
    "UNSPECIFIED_FAILURE": _UNCLEAR,
    "UNKNOWN_ERROR": _UNCLEAR,
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
        # The payer has another prompt open; a new one over another rail would meet the same. He refused
        # nothing: like one who let the time pass, he may be asked again in a while.
        "PAYMENT_IN_PROGRESS": (FailureCode.PAYER_TIMEOUT, False),
        "TRANSACTION_ALREADY_IN_PROCESS": (FailureCode.PAYER_TIMEOUT, False),
    },
    Operation.PAYOUT: _RECIPIENT,
    Operation.REFUND: {
        **_RECIPIENT,
        "DEPOSIT_ALREADY_REFUNDED": _UNCLEAR,
        "REFUND_IN_PROGRESS": _UNCLEAR,
        "AMOUNT_TOO_LARGE": (FailureCode.AMOUNT_NOT_ALLOWED, False),
    },
}
"""Why pawaPay ended a request that it had accepted, by operation."""

# Without a word of pawaPay's: its gateway turned the caller away. Of a web page none of this counts.
_TURNED_AWAY: Mapping[int, tuple[Evidence, Meaning]] = {
    401: (Evidence.REFUSED_FINAL, _SET_UP),
    403: (Evidence.REFUSED_FINAL, _SET_UP),
    429: (Evidence.REFUSED_LATER, _AWAY),
}
_STANDINGS: Mapping[str, RailStatus] = {
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
_TRANSACTION = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def judge_send(answer: Exchange | TransportFailure, operation: Operation, reference: str) -> SendAnswer:
    """Return what one send is known to have done. An answer about another reference proves nothing."""
    if isinstance(answer, TransportFailure):
        failure = Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
        return SendAnswer(evidence=answer.evidence, failure=failure, provider_code=answer.fault.value)
    body = answer.json_object()
    word = None if body is None else body.get("status")
    code = failure_code(body)
    if answer.status == 200 and body is not None and word in ("ACCEPTED", "DUPLICATE_IGNORED"):
        if _is_about(body, operation, reference):
            return _accepted(answer, operation, duplicate=word == "DUPLICATE_IGNORED")
        return _refused(answer, Evidence.AMBIGUOUS, _FAULT, "other_reference")
    is_rejected = answer.status == 200 and word == "REJECTED"
    if body is not None and (is_rejected or 400 <= answer.status < 500):
        if code is not None and code in REFUSALS and _is_about(body, operation, reference):
            return _refused(answer, *REFUSALS[code], code)
        # A reason that is new, yet REJECTED under our own reference is pawaPay's word that it did nothing.
        if is_rejected and code != "UNKNOWN_ERROR" and body.get(ID_FIELDS[operation]) == reference:
            return _refused(answer, Evidence.REFUSED_FINAL, _UNCLEAR, code)
    if answer.status in _TURNED_AWAY and code is None and (body is not None or not answer.body.strip()):
        return _refused(answer, *_TURNED_AWAY[answer.status], None)
    return _refused(answer, Evidence.AMBIGUOUS, _FAULT, code)


def judge_status(
    answer: Exchange | TransportFailure, operation: Operation, reference: str, currency: str
) -> StatusAnswer:
    """Return the status of a request by pawaPay's own answer, which says NOT_FOUND with HTTP 200."""
    if isinstance(answer, TransportFailure):
        return no_information(answer.fault.value)
    body = answer.json_object()
    if answer.status != 200 or body is None:
        return no_information(failure_code(body) or f"http_{answer.status}", retry_after_s(answer))
    if body.get("status") == "NOT_FOUND" and body.get("data") is None:
        return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND, provider_code="NOT_FOUND")
    data = _object(body.get("data"))
    named: object = data.get(ID_FIELDS[operation])
    if body.get("status") != "FOUND" or named is None:
        return no_information("unnamed_reference" if data else "unknown_status")
    if named != reference:
        return about_another(named)
    return replace(_standing(data, operation, currency), reference=reference, wallet=_wallet(data))


def _standing(data: Mapping[str, Any], operation: Operation, currency: str) -> StatusAnswer:
    """Read a status that is about our own request."""
    word: object = data.get("status")
    status_at_rail = _STANDINGS.get(word) if isinstance(word, str) else None
    if status_at_rail is None:
        return no_information("unknown_status")
    transaction = _transaction(data)
    if status_at_rail is RailStatus.SUCCEEDED:
        return _succeeded(data, currency, transaction)
    if status_at_rail is RailStatus.PENDING:
        return StatusAnswer(
            status_at_rail=status_at_rail,
            provider_transaction_id=transaction,
            next_action=_APPROVE if operation is Operation.COLLECT else None,
        )
    reason = failure_code(data)
    code, reroute = REASONS[operation].get(reason or "", _UNCLEAR)
    return StatusAnswer(
        status_at_rail=RailStatus.FAILED,
        failure=Failure(code, reroute=reroute, provider_code=reason),
        provider_code=reason,
        provider_transaction_id=transaction,
    )


def judge_balances(
    answer: Exchange | TransportFailure, networks: Mapping[str, Network], currency: str
) -> FloatAnswer:
    """Read the wallets of Ghana: `{"balances": [{"country": "GHA", "balance": "21798.03", "currency": "GHS",
    "provider": ""}]}`.

    Source: docs.pawapay.io v2, "Wallet balances" and "Wallets": a wallet without a provider pays for the
    whole country, one with a provider for that provider alone. `networks` names ours by pawaPay's providers.
    """
    if isinstance(answer, TransportFailure):
        return FloatAnswer(provider_code=answer.fault.value, is_fault=True)
    body = answer.json_object()
    listed: object = None if body is None else body.get("balances")
    if answer.status != 200 or not isinstance(listed, list):
        code = failure_code(body) or f"http_{answer.status}"
        return FloatAnswer(provider_code=code, is_fault=answer.status >= 500)
    available: dict[Network | None, int] = {}
    for one in cast("list[object]", listed):
        wallet = _object(one)
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
    """Return whom a callback is about, or None. Nothing else in there is read: it is a hint.

    pawaPay can sign callbacks (RFC 9421). The signature is not verified: what follows a hint is an inquiry,
    and only its answer counts.
    """
    try:
        decoded: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    body = _object(decoded)
    found = [body[field] for field in ("refundId", "payoutId", "depositId") if field in body]
    reference = _uuid(found[0]) if found else None
    return None if reference is None else CallbackNote(reference=reference)


def failure_code(body: Mapping[str, Any] | None) -> str | None:
    """Return the code of `failureReason`, where there is a legible one."""
    code: object = _object(None if body is None else body.get("failureReason")).get("failureCode")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _is_about(body: Mapping[str, Any], operation: Operation, reference: str) -> bool:
    """A refusal before pawaPay has read our id names none."""
    return body.get(ID_FIELDS[operation], reference) == reference


def _accepted(answer: Exchange, operation: Operation, *, duplicate: bool) -> SendAnswer:
    return SendAnswer(
        evidence=Evidence.ACCEPTED,
        next_action=_APPROVE if operation is Operation.COLLECT else None,
        provider_code="DUPLICATE_IGNORED" if duplicate else None,
        duplicate=duplicate,
        http_status=answer.status,
    )


def _refused(answer: Exchange, evidence: Evidence, meaning: Meaning, code: str | None) -> SendAnswer:
    failure, reroute = meaning
    provider_code = code or f"http_{answer.status}"
    return SendAnswer(
        evidence=evidence,
        failure=Failure(failure, reroute=reroute, provider_code=provider_code),
        provider_code=provider_code,
        retry_after_s=retry_after_s(answer),
        http_status=answer.status,
    )


def _succeeded(data: Mapping[str, Any], currency: str, transaction: str | None) -> StatusAnswer:
    amount: object = data.get("amount")
    received = None if amount is None else _pesewas(amount)
    if (amount is not None and received is None) or data.get("currency", currency) != currency:
        return no_information("unreadable_amount")
    return StatusAnswer(
        status_at_rail=RailStatus.SUCCEEDED,
        provider_transaction_id=transaction,
        amount=received,
        currency=currency if "currency" in data else None,
    )


def _pesewas(amount: object) -> int | None:
    try:
        received = from_major(amount) if isinstance(amount, str) else None
    except ValueError:
        return None
    return received if received is not None and received <= AMOUNT_MAX else None


def _transaction(data: Mapping[str, Any]) -> str | None:
    text: object = data.get("providerTransactionId")
    return text if isinstance(text, str) and _TRANSACTION.fullmatch(text) else None


def _wallet(data: Mapping[str, Any]) -> str | None:
    party = _object(data.get("payer")) or _object(data.get("recipient"))
    number: object = _object(party.get("accountDetails")).get("phoneNumber")
    return number if isinstance(number, str) and _NUMBER.fullmatch(number) else None


def _uuid(text: object) -> str | None:
    try:
        return str(UUID(text)) if isinstance(text, str) and len(text) == 36 else None
    except ValueError:
        return None


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
