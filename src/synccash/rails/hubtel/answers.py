"""Interprets Hubtel's answers by pure tables: ResponseCode first, then the HTTP status, texts last.

An answer in no table is AMBIGUOUS after a send and no information after an inquiry. Source of codes: Hubtel's
"Direct Receive Money" and "Direct Send Money" pages. Hubtel does not publish its answer to a repeated
ClientReference, so a refusal that mentions a reference proves nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import (
    CallbackNote,
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
    is_legible,
    matching,
    no_information,
    no_response,
    no_status,
    pesewas,
    read_transaction_id,
    refused,
    succeeded,
    unanswered,
    wrong_reference,
)
from synccash.rails.http.transport import Exchange, TransportFailure, decode_object
from synccash.resilience.evidence import Evidence

_EVERYWHERE: Mapping[str, tuple[Evidence, Meaning]] = {
    "3050": (Evidence.REFUSED_FINAL, (FailureCode.INVALID_PAYER, False)),
    "4000": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    # Mostly an amount below the minimum. As a fault of the set-up it would count against the rail.
    "4070": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, True)),
    "4075": (Evidence.REFUSED_FINAL, (FailureCode.MERCHANT_ACCOUNT_BLOCKED, True)),
    "4101": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "4103": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "5000": (Evidence.AMBIGUOUS, PROVIDER_FAULT),
}
# 2001: Hubtel has passed the request to the network. Only an inquiry tells its status.
_COLLECT: Mapping[str, tuple[Evidence, Meaning]] = {
    # All are the payer's: no funds, a limit, a wrong PIN, no PIN in time, a number of another network.
    "2001": (Evidence.AMBIGUOUS, (FailureCode.PAYER_DECLINED, False)),
}
_SEND_MONEY: Mapping[str, tuple[Evidence, Meaning]] = {
    "2001": (Evidence.AMBIGUOUS, UNCLEAR),
}
CODES: Mapping[Operation, Mapping[str, tuple[Evidence, Meaning]]] = {
    Operation.COLLECT: {**_EVERYWHERE, **_COLLECT},
    Operation.REFUND: {**_EVERYWHERE, **_SEND_MONEY},
    Operation.PAYOUT: {
        **_EVERYWHERE,
        **_SEND_MONEY,
        "4075": (Evidence.REFUSED_FINAL, OWN_FLOAT),  # our prepaid balance
    },
}
"""What each refusal proves as the answer to a send, and what it means, by operation."""

CALLBACK_FAILURES: Mapping[str, FailureCode] = {"2001": FailureCode.PAYER_DECLINED}
"""What a callback may report as a final failure: its page names 0000 for success and 2001 for failure. The
other codes are documented as answers to a request, and say nothing about one that Hubtel has taken."""

ACCEPTED_CODES = frozenset({"0000", "0001"})
"""Hubtel accepted the request. 0000 means that it has ended, which only an inquiry can confirm."""

# Statuses without a code of Hubtel's: its gateway refused the request, which did not reach Hubtel. They do
# not count with a web page as body, such as that of the IP allow list: any proxy may have written it. 400 is
# missing, since it may be the unpublished answer to a repeated reference.
_SEND_STATUSES: Mapping[int, tuple[Evidence, Meaning]] = {
    401: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    403: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    429: (Evidence.REFUSED_LATER, PROVIDER_UNAVAILABLE),
}
_COLLECT_STATUSES: Mapping[str, RailStatus] = {
    "paid": RailStatus.SUCCEEDED,
    # Pending or failed: Hubtel has no status for failure here.
    "unpaid": RailStatus.PENDING,
}
_SEND_MONEY_STATUSES: Mapping[str, RailStatus] = {
    "success": RailStatus.SUCCEEDED,
    "pending": RailStatus.PENDING,
    "failed": RailStatus.FAILED,
}
_APPROVE = NextAction(NextActionType.APPROVE_ON_PHONE, "Approve the payment with your PIN on your phone.")
_CODE = re.compile(r"[0-9]{4}", re.ASCII)
_SAYS_NOT_FOUND = re.compile(r"not found|does not exist", re.IGNORECASE)
_MENTIONS_REFERENCE = re.compile(r"duplicat|reference|already", re.IGNORECASE)


def judge_send(answer: Exchange | TransportFailure, operation: Operation) -> SendAnswer:
    """Return what one send is known to have done."""
    if isinstance(answer, TransportFailure):
        return unanswered(answer)
    body = _with_lower_names(answer.json_object())
    code = _code(body)
    if code in ACCEPTED_CODES and answer.status < 300:
        return accepted(
            answer,
            next_action=_APPROVE if operation is Operation.COLLECT else None,
            provider_code=code,
            provider_transaction_id=_transaction_id(body),
        )
    if code is not None and code in CODES[operation]:
        evidence, meaning = CODES[operation][code]
    elif answer.status in _SEND_STATUSES and is_legible(answer, body):
        evidence, meaning = _SEND_STATUSES[answer.status]
    else:
        evidence, meaning = Evidence.AMBIGUOUS, ACCOUNT_SET_UP if answer.status == 403 else PROVIDER_FAULT
    if any(_MENTIONS_REFERENCE.search(text) for text in _all_texts(body)):
        evidence = Evidence.AMBIGUOUS
    return refused(answer, evidence, meaning, code)


def judge_status(
    answer: Exchange | TransportFailure, operation: Operation, client_reference: str
) -> StatusAnswer:
    """Return the status of a request by Hubtel's own answer about `client_reference` and no other."""
    if isinstance(answer, TransportFailure):
        return no_response(answer)
    body = _with_lower_names(answer.json_object())
    if answer.status == 404 and body is not None and _is_unknown_reference(body):
        return replace(no_information("not_found"), unknown_reference=True, cause=None)
    if answer.status != 200 or body is None:
        return no_status(answer, _code(body))
    data = _with_lower_names(body.get("data")) or {}
    collects = operation is Operation.COLLECT
    if body.get("responsecode") not in (("0000",) if collects else ("success", "0000")):
        return no_information(_code(body) or "unknown_status")
    named = data.get("clientreference")
    if named is not None and named != client_reference:
        return wrong_reference(named)
    status = _read_status(data, collects=collects)
    return status if named is None else replace(status, reference=client_reference)


def _is_unknown_reference(body: Mapping[str, Any]) -> bool:
    """True for Hubtel's envelope with a text that says "not found", and with no data.

    It proves nothing about the money: Hubtel does not publish this answer, and gives it for the first five
    minutes of every request. A 404 of a gateway has another form, and counts as a fault.
    """
    message = body.get("message")
    says_so = isinstance(message, str) and _SAYS_NOT_FOUND.search(message) is not None
    return says_so and _code(body) is not None and body.get("data") in (None, {})


def _read_status(data: Mapping[str, Any], *, collects: bool) -> StatusAnswer:
    """Read a status that names our own request, or none."""
    word = data.get("status" if collects else "transactionstatus")
    statuses = _COLLECT_STATUSES if collects else _SEND_MONEY_STATUSES
    status_at_rail = statuses.get(word.lower()) if isinstance(word, str) else None
    if status_at_rail is None:
        if word != "Refunded":
            return no_information("unknown_status")
        # The money arrived and was returned: an operator decides. Our own refunds are payments to the payer,
        # under other references.
        return replace(no_information("refunded"), went_back=data.get("clientreference") is not None)
    if status_at_rail is not RailStatus.PENDING and data.get("clientreference") is None:
        # A final status without our reference may be about another request.
        return no_information("unnamed_reference")
    transaction = _transaction_id(data)
    if status_at_rail is RailStatus.SUCCEEDED:
        return _succeeded(data, transaction)
    code = str(word).lower()
    if status_at_rail is RailStatus.FAILED:
        return failed(UNCLEAR, code, transaction)
    return StatusAnswer(
        status_at_rail=RailStatus.PENDING,
        provider_code=code,
        provider_transaction_id=transaction,
        next_action=_APPROVE if collects else None,
    )


def read_callback(body: bytes) -> CallbackNote | None:
    """Read what a callback claims; None for a body that is not one of Hubtel's callbacks.

    It is unsigned, so it never allows another rail. The failure that Hubtel documents for callbacks counts
    only together with the token of the callback's address, an inquiry that says `Unpaid`, and a prompt
    window that is over; any other code only triggers an inquiry.
    """
    code = _code(_with_lower_names(decode_object(body)))
    if code is None:
        return None
    failure = CALLBACK_FAILURES.get(code)
    return CallbackNote(failure=None if failure is None else Failure(failure, provider_code=code))


def _succeeded(data: Mapping[str, Any], transaction: str | None) -> StatusAnswer:
    amount, currency = data.get("amount"), data.get("currencycode")
    return succeeded(
        amount, pesewas(amount), transaction, currency=currency, is_our_currency=currency in (None, "GHS")
    )


def _with_lower_names(value: object) -> dict[str, Any] | None:
    """Return an object with its names in lower case: Hubtel's pages spell them in three ways.

    An object that has one name in two spellings is ambiguous, and is not read.
    """
    if not isinstance(value, dict):
        return None
    given = cast("dict[str, Any]", value)
    folded = {name.lower(): held for name, held in given.items()}
    return folded if len(folded) == len(given) else None


def _code(body: Mapping[str, Any] | None) -> str | None:
    return None if body is None else matching(body.get("responsecode"), _CODE)


def _transaction_id(body: Mapping[str, Any] | None) -> str | None:
    holder = body or {}
    data = _with_lower_names(holder.get("data")) or {}
    return read_transaction_id(holder.get("transactionid") or data.get("transactionid"))


def _all_texts(value: object) -> Iterator[str]:
    """Every text in a body, but not the names of its members."""
    left = [value]
    while left:
        held = left.pop()
        if isinstance(held, str):
            yield held
        elif isinstance(held, dict):
            left.extend(cast("dict[str, object]", held).values())
        elif isinstance(held, list):
            left.extend(cast("list[object]", held))
