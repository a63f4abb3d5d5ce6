"""Interprets Paystack's answers by pure tables: type, code and message are read before the HTTP status.

Source: Paystack's documentation, "Errors", "Charge", "Verify", "Refunds", "How transfers work". Errors come
in two forms: with `type` and `code`, and an older one with a message alone. An answer in no table is
AMBIGUOUS after a send and no information after an inquiry.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from synccash.payments.failure import Failure, FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.rail import (
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
    failed,
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
from synccash.rails.http.transport import Exchange, TransportFailure
from synccash.resilience.evidence import Evidence

PROMPT_WINDOW_S = 180.0
"""A payer has three minutes to approve."""
_GRACE_S = 120.0  # Paystack learns of an approval in the last second a little later
REFUNDS_PER_PAGE = 100
"""How many refunds of one transaction one request returns."""

CODES: Mapping[str, Meaning] = {
    "invalid_Key": ACCOUNT_SET_UP,
    "missing_auth": ACCOUNT_SET_UP,
    "unsupported_currency": ACCOUNT_SET_UP,
    "insufficient_balance": (FailureCode.MERCHANT_ACCOUNT_BLOCKED, True),
    "invalid_otp": (FailureCode.PAYER_DECLINED, False),
}
"""Error codes with a meaning of their own; any other code of a refusal is a fault of the request."""
_FLOAT_CODE = "insufficient_balance"
_FLOAT = re.compile(r"balance is not enough|insufficient balance", re.IGNORECASE)
_DUPLICATE_CODES = frozenset({"duplicate_reference"})
_DUPLICATE = re.compile(
    r"duplicate transaction reference|reference already exists on a transfer", re.IGNORECASE
)
# A message in unknown words may be about a duplicate whose first request went through: it proves nothing.
_MAY_BE_DUPLICATE = re.compile(r"duplicat|already|exists|reference", re.IGNORECASE)
_NOT_FOUND_CODES = frozenset({"transaction_not_found", "transfer_not_found"})
_NOT_FOUND = re.compile(r"(transaction reference|transaction|transfer) not found\.?", re.IGNORECASE)
# `processor_error` is not among them: the processor has seen the request.
_REFUSING_TYPES = frozenset({"validation_error", "api_error", None})
_REFUSALS: Mapping[int, tuple[Evidence, Meaning]] = {
    400: (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    401: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    403: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    404: (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    429: (Evidence.REFUSED_LATER, PROVIDER_UNAVAILABLE),
}
"""Paystack: "the request wasn't fulfilled". Only with its own error body, never for a normalized status."""

_UNDER_WAY = ("pending", "ongoing", "processing", "queued", "send_otp", "pay_offline")
_PENDING = dict.fromkeys(_UNDER_WAY, RailStatus.PENDING)
STATUSES: Mapping[Operation, Mapping[str, RailStatus]] = {
    # `reversed`: money arrived and was returned, perhaps only a part of it. It is neither a success nor a
    # failure, so an operator decides. Until then (`reversal-pending`) the debit has succeeded.
    Operation.COLLECT: {
        **_PENDING,
        "abandoned": RailStatus.PENDING,
        "success": RailStatus.SUCCEEDED,
        "reversal-pending": RailStatus.SUCCEEDED,
        "reversed": RailStatus.NO_INFORMATION,
        "failed": RailStatus.FAILED,
    },
    Operation.PAYOUT: {
        **dict.fromkeys(("pending", "otp", "received", "queued", "processing"), RailStatus.PENDING),
        "success": RailStatus.SUCCEEDED,
        **dict.fromkeys(("failed", "reversed", "abandoned", "blocked", "rejected"), RailStatus.FAILED),
    },
    Operation.REFUND: {
        **dict.fromkeys(("pending", "processing", "needs-attention", "reversal-pending"), RailStatus.PENDING),
        "processed": RailStatus.SUCCEEDED,
        "failed": RailStatus.FAILED,
    },
}
"""What each of Paystack's statuses means. `abandoned` is an end only after the prompt's window."""

REASONS: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(words, re.IGNORECASE), meaning)
    for words, meaning in (
        (r"low_balance_or_payee_limit", (FailureCode.INSUFFICIENT_FUNDS, False)),
        (r"insufficient|not enough|low balance", (FailureCode.INSUFFICIENT_FUNDS, False)),
        (r"limit", (FailureCode.PAYER_LIMIT_REACHED, False)),
        (r"not found|not registered|invalid (phone|number|account)", (FailureCode.INVALID_PAYER, False)),
        (r"timed? ?out|expired", (FailureCode.PAYER_TIMEOUT, False)),
        (r"declined|reject|cancel", (FailureCode.PAYER_DECLINED, False)),
    )
)
"""Paystack gives its reasons as sentences (`gateway_response`); the first pattern that fits counts."""

_NUMBER = re.compile(r"0[0-9]{2}[0-9X]{4}[0-9]{3}", re.ASCII)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,63}", re.ASCII)
_TEXT_MAX = 200


def judge_send(answer: Exchange | TransportFailure, operation: Operation, reference: str) -> SendAnswer:
    """Return what one send is known to have done. `reference` is the one that was sent."""
    if isinstance(answer, TransportFailure):
        return unanswered(answer, provider_code=answer.fault.value)
    body = answer.json_object()
    code = _code(body)
    if body is None or not isinstance(body.get("status"), bool):
        return refused(answer, Evidence.AMBIGUOUS, PROVIDER_FAULT, code)
    if body["status"]:
        return _accepted(answer, operation, reference, body)
    if answer.status < 400 or answer.status >= 500 or "data" in body:
        return refused(answer, Evidence.AMBIGUOUS, PROVIDER_FAULT, code)
    if operation is not Operation.REFUND and (code in _DUPLICATE_CODES or _matches(body, _DUPLICATE)):
        return accepted(answer, next_action=None, provider_code=code, duplicate=True)
    kind: object = body.get("type")
    is_refusal = (
        (kind is None or isinstance(kind, str))
        and kind in _REFUSING_TYPES
        and isinstance(body.get("message"), str)
        and not _matches(body, re.compile("charge attempted", re.IGNORECASE))
    )
    evidence, meaning = _REFUSALS.get(answer.status, (Evidence.AMBIGUOUS, PROVIDER_FAULT))
    is_refusal = is_refusal and (code in CODES or not _may_be_a_duplicate(body, operation))
    if not is_refusal and answer.status != 429:
        evidence = Evidence.AMBIGUOUS
    if operation is Operation.PAYOUT and is_refusal and (code == _FLOAT_CODE or _matches(body, _FLOAT)):
        return refused(answer, evidence, OWN_FLOAT, code)
    return refused(answer, evidence, CODES.get(code or "", meaning), code)


def judge_balance(answer: Exchange | TransportFailure) -> FloatAnswer:
    """Read the balance that transfers are paid from: `data` is a list of `{"currency": "GHS", "balance":
    pesewas}`.

    Source: Paystack's documentation, "Transfer Control", "Check Balance": amounts are in the subunit.
    """
    if isinstance(answer, TransportFailure):
        return unanswered_float(answer)
    body = answer.json_object()
    listed: object = body.get("data") if body is not None and body.get("status") is True else None
    if answer.status != 200 or not isinstance(listed, list):
        return no_float(answer, _code(body))
    for one in cast("list[object]", listed):
        held = json_object(one)
        amount: object = held.get("balance")
        if held.get("currency") == "GHS" and isinstance(amount, int) and not isinstance(amount, bool):
            return FloatAnswer(available={None: max(0, amount)})
    return FloatAnswer(provider_code="unreadable_balance")


def judge_otp(answer: Exchange | TransportFailure, reference: str) -> SendAnswer:
    """Return what became of a voucher. The same answer tells when the charge itself failed because of it."""
    body = None if isinstance(answer, TransportFailure) else answer.json_object()
    data: object = None if body is None else body.get("data")
    if not isinstance(answer, TransportFailure) and isinstance(data, dict):
        charge = cast("dict[str, Any]", data)
        is_ours = charge.get("reference") == reference and answer.status < 500
        if is_ours and charge.get("status") == "failed":
            return refused(answer, Evidence.REFUSED_FINAL, _reason(charge, Operation.COLLECT), "failed")
    return judge_send(answer, Operation.COLLECT, reference)


def judge_status(answer: Exchange | TransportFailure, operation: Operation, reference: str) -> StatusAnswer:
    """Return the status of a charge or a transfer by Paystack's own answer."""
    if isinstance(answer, TransportFailure):
        return no_response(answer)
    body = answer.json_object()
    if body is not None and _is_not_found(answer, body):
        return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND, provider_code=_code(body) or "not_found")
    data = _data(answer, body)
    if data is None:
        return no_status(answer, _code(body))
    named: object = data.get("reference")
    if named is None:
        return no_information("unnamed_reference")
    if named != reference:
        return wrong_reference(named)
    status = _read_status(data, operation, is_over=_is_prompt_over(answer, data))
    return replace(status, reference=reference, wallet=_wallet(data, operation))


def judge_refunds(answer: Exchange | TransportFailure, reference: str, amount: int | None) -> StatusAnswer:
    """Return the status of our refund among those of a transaction, found by our reference in its note.

    Where several carry our reference, one that moved another amount than `amount` (pesewas) comes first, so
    that it is reported as a contradiction. NOT_FOUND is returned only for a complete list.
    """
    if isinstance(answer, TransportFailure):
        return no_response(answer)
    body = answer.json_object()
    listed: object = body.get("data") if body is not None and body.get("status") is True else None
    if answer.status != 200 or not isinstance(listed, list):
        return no_status(answer, _code(body))
    entries = [
        cast("dict[str, Any]", entry) for entry in cast("list[object]", listed) if isinstance(entry, dict)
    ]
    ours = [entry for entry in entries if reference in str(entry.get("merchant_note"))]
    if not ours:
        if len(entries) < len(cast("list[object]", listed)):
            return no_information("unreadable_list")
        whole = len(entries) < REFUNDS_PER_PAGE
        return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND) if whole else no_information("list_too_long")
    answers = [_listed_refund(entry, amount) for entry in ours]
    order = (RailStatus.SUCCEEDED, RailStatus.PENDING, RailStatus.NO_INFORMATION, RailStatus.FAILED)
    return min(answers, key=lambda found: (order.index(found.status_at_rail), found.amount == amount))


def _listed_refund(entry: Mapping[str, Any], amount: int | None) -> StatusAnswer:
    """Return the status of one refund of a list. Another amount proves nothing until it has moved."""
    status = _read_status(entry, Operation.REFUND, is_over=False)
    if (
        status.status_at_rail is not RailStatus.SUCCEEDED
        and amount is not None
        and entry.get("amount") != amount
    ):
        return no_information("other_amount")
    return status


def transaction_id(answer: Exchange | TransportFailure, reference: str) -> str | None:
    """Return Paystack's own number of a transaction from an answer to verify."""
    data = None if isinstance(answer, TransportFailure) else _data(answer, answer.json_object())
    return _transaction_id(data) if data is not None and data.get("reference") == reference else None


def recipient_code(answer: Exchange | TransportFailure) -> str | SendAnswer:
    """Return the code of a transfer's recipient, or why no transfer was sent to it."""
    sent = judge_send(answer, Operation.PAYOUT, "")
    if not isinstance(answer, TransportFailure):
        data = _data(answer, answer.json_object())
        code = None if data is None else read_transaction_id(data.get("recipient_code"))
        if code is not None:
            return code
    failure = sent.failure or Failure(FailureCode.PROVIDER_ERROR, reroute=True)
    is_final = sent.evidence is Evidence.REFUSED_FINAL
    return SendAnswer(
        evidence=Evidence.REFUSED_FINAL if is_final else Evidence.NOT_SENT,
        failure=failure,
        provider_code=f"recipient_{sent.provider_code or 'unreadable'}"[:64],
        retry_after_s=sent.retry_after_s,
        http_status=sent.http_status,
        cause=sent.cause,
    )


def _accepted(answer: Exchange, operation: Operation, reference: str, body: Mapping[str, Any]) -> SendAnswer:
    """Read a positive answer: it counts when it is about our request and its status is known."""
    data = _data(answer, body)
    word: object = None if data is None else data.get("status")
    is_ours = operation is Operation.REFUND or (data is not None and data.get("reference") == reference)
    if data is None or not isinstance(word, str) or word not in STATUSES[operation] or not is_ours:
        return refused(answer, Evidence.AMBIGUOUS, PROVIDER_FAULT, None)
    return accepted(
        answer,
        next_action=_next_action(data, word) if operation is Operation.COLLECT else None,
        provider_transaction_id=_transaction_id(data),
    )


def _read_status(data: Mapping[str, Any], operation: Operation, *, is_over: bool) -> StatusAnswer:
    word: object = data.get("status")
    status_at_rail = STATUSES[operation].get(word) if isinstance(word, str) else None
    if status_at_rail is None:
        return no_information("unknown_status")
    if status_at_rail is RailStatus.NO_INFORMATION:
        went_back = word == "reversed"
        return replace(no_information(str(word)), went_back=went_back, perhaps_refunded=went_back)
    number = _transaction_id(data)
    if status_at_rail is RailStatus.SUCCEEDED:
        return _succeeded(data, number)
    if operation is Operation.COLLECT and word == "abandoned" and is_over:
        return failed((FailureCode.PAYER_TIMEOUT, False), "abandoned", number)
    if status_at_rail is RailStatus.FAILED:
        return failed(_reason(data, operation), str(word), number)
    action = _next_action(data, str(word)) if operation is Operation.COLLECT else None
    return StatusAnswer(status_at_rail=RailStatus.PENDING, provider_transaction_id=number, next_action=action)


def _wallet(data: Mapping[str, Any], operation: Operation) -> str | None:
    """Return the number that a charge or a transfer names: of a charge the first and the last three digits.

    Source: Paystack, "Verify Transaction" for mobile money (`authorization.bin` 055XXX, `last4` X987), and
    "Verify Transfer" (`recipient.details.account_number`).
    """
    if operation is Operation.COLLECT:
        shown = json_object(data.get("authorization"))
        number = f"{shown.get('bin')}{shown.get('last4')}"
    else:
        recipient = json_object(data.get("recipient"))
        number = str(json_object(recipient.get("details")).get("account_number"))
    return number.removeprefix("0") if _NUMBER.fullmatch(number) else None


def _reason(data: Mapping[str, Any], operation: Operation) -> Meaning:
    """Read the reason of a charge. A transfer's reason is its purpose, and a refund has none."""
    if operation is not Operation.COLLECT:
        return UNCLEAR
    words = " ".join(str(data.get(name) or "")[:_TEXT_MAX] for name in ("gateway_response", "message"))
    return next((meaning for pattern, meaning in REASONS if pattern.search(words)), UNCLEAR)


def _succeeded(data: Mapping[str, Any], number: str | None) -> StatusAnswer:
    """Read a success. Paystack always names an amount, in pesewas, and a currency."""
    amount: object = data.get("amount")
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= AMOUNT_MAX:
        return no_information("unreadable_amount")
    is_cedis = data.get("currency") == "GHS"
    return succeeded(amount, amount, number, currency="GHS", is_our_currency=is_cedis)


def _next_action(data: Mapping[str, Any], word: str) -> NextAction | None:
    text: object = data.get("display_text")
    shown = text[:_TEXT_MAX] if isinstance(text, str) and text.isprintable() and text else None
    match word:
        case "pay_offline":
            return NextAction(NextActionType.APPROVE_ON_PHONE, shown or "Approve the payment on your phone.")
        case "send_otp":
            words = "Dial *110# to generate a voucher, and enter it here."
            return NextAction(NextActionType.SUBMIT_OTP, shown or words)
        case _:
            return None


def _is_prompt_over(answer: Exchange, data: Mapping[str, Any]) -> bool:
    """Return True when the prompt's window has passed, measured by Paystack's own clock at both ends."""
    created: object = data.get("created_at") or data.get("createdAt")
    try:
        began = datetime.fromisoformat(str(created))
        age_s = (parsedate_to_datetime(answer.headers.get("Date", "")) - began).total_seconds()
    except (TypeError, ValueError, OverflowError, IndexError):
        return False
    return age_s > PROMPT_WINDOW_S + _GRACE_S


def _is_not_found(answer: Exchange, body: Mapping[str, Any]) -> bool:
    """Return True for Paystack's own "not found", which comes with HTTP 400 or 404."""
    says_so = _code(body) in _NOT_FOUND_CODES or _matches(body, _NOT_FOUND, whole=True)
    return answer.status in (400, 404) and body.get("status") is False and says_so


def _may_be_a_duplicate(body: Mapping[str, Any], operation: Operation) -> bool:
    """Return True where a refusal may be about a duplicate. A refund has no reference of ours to repeat."""
    if operation is Operation.REFUND:
        return False
    return _matches(body, _MAY_BE_DUPLICATE) or _MAY_BE_DUPLICATE.search(_code(body) or "") is not None


def _matches(body: Mapping[str, Any], pattern: re.Pattern[str], *, whole: bool = False) -> bool:
    message: object = body.get("message")
    if not isinstance(message, str):
        return False
    return bool(pattern.fullmatch(message.strip()) if whole else pattern.search(message))


def _data(answer: Exchange, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if answer.status not in (200, 201) or body is None or body.get("status") is not True:
        return None
    data: object = body.get("data")
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None


def _code(body: Mapping[str, Any] | None) -> str | None:
    return None if body is None else matching(body.get("code"), _CODE)


def _transaction_id(data: Mapping[str, Any]) -> str | None:
    number: object = data.get("id")
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 < number < 1 << 63
    return read_transaction_id(str(number) if is_number else number)
