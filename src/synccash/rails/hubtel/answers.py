"""Interprets Hubtel's answers by pure tables: ResponseCode first, then the HTTP status, texts last.

An answer in no table is AMBIGUOUS after a send and no information after an inquiry. Source of codes: Hubtel's
"Direct Receive Money" and "Direct Send Money" pages. What Hubtel says to a ClientReference that it has had
before is published nowhere, so a refusal that speaks of one is never taken for a proof.
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
    PROVIDER_AWAY,
    PROVIDER_FAULT,
    UNCLEAR,
    Meaning,
    about_another,
    accepted,
    failed,
    is_legible,
    matching,
    no_information,
    no_status,
    pesewas,
    read_transaction_id,
    refused,
    succeeded,
    unanswered,
)
from synccash.rails.transport import Exchange, TransportFailure, decode_object
from synccash.resilience.evidence import Evidence

_EVERYWHERE: Mapping[str, tuple[Evidence, Meaning]] = {
    "3050": (Evidence.REFUSED_FINAL, (FailureCode.INVALID_PAYER, False)),
    "4000": (Evidence.REFUSED_FINAL, PROVIDER_FAULT),
    # Below the least amount, mostly: were it the set-up's, small amounts would count against the rail.
    "4070": (Evidence.REFUSED_FINAL, (FailureCode.AMOUNT_NOT_ALLOWED, True)),
    "4075": (Evidence.REFUSED_FINAL, (FailureCode.MERCHANT_ACCOUNT_BLOCKED, True)),
    "4101": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "4103": (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    "5000": (Evidence.AMBIGUOUS, PROVIDER_FAULT),
}
# 2001 tells of a request that Hubtel took to the network. How that stands is not for this answer to say.
_COLLECT: Mapping[str, tuple[Evidence, Meaning]] = {
    # No funds, a limit, a wrong PIN, no PIN in time, another network's number: the payer's, all of them.
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

TAKEN = frozenset({"0000", "0001"})
"""The request was taken. 0000 speaks of a finished one, but only an inquiry is believed about that."""

# Without a code of Hubtel's: what the gateway before it turns away has not reached Hubtel. None of these
# counts when the body is a web page, as the one of the IP allow list is: anybody on the way may have written
# it. 400 is not here either: it may be the unpublished answer to a reference that was there before.
_SEND_STATUSES: Mapping[int, tuple[Evidence, Meaning]] = {
    401: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    403: (Evidence.REFUSED_FINAL, ACCOUNT_SET_UP),
    429: (Evidence.REFUSED_LATER, PROVIDER_AWAY),
}
_COLLECT_STANDINGS: Mapping[str, RailStatus] = {
    "paid": RailStatus.SUCCEEDED,
    # Pending and failed alike: Hubtel has no word for failure here.
    "unpaid": RailStatus.PENDING,
}
_SEND_MONEY_STANDINGS: Mapping[str, RailStatus] = {
    "success": RailStatus.SUCCEEDED,
    "pending": RailStatus.PENDING,
    "failed": RailStatus.FAILED,
}
_APPROVE = NextAction(NextActionType.APPROVE_ON_PHONE, "Approve the payment with your PIN on your phone.")
_CODE = re.compile(r"[0-9]{4}", re.ASCII)
_SPEAKS_OF_A_REFERENCE = re.compile(r"duplicat|reference|already", re.IGNORECASE)


def judge_send(answer: Exchange | TransportFailure, operation: Operation) -> SendAnswer:
    """Return what one send is known to have done."""
    if isinstance(answer, TransportFailure):
        return unanswered(answer)
    body = _folded(answer.json_object())
    code = _code(body)
    if code in TAKEN and answer.status < 300:
        return accepted(
            answer,
            next_action=_APPROVE if operation is Operation.COLLECT else None,
            provider_code=code,
            provider_transaction_id=_transaction(body),
        )
    if code is not None and code in CODES[operation]:
        evidence, meaning = CODES[operation][code]
    elif answer.status in _SEND_STATUSES and is_legible(answer, body):
        evidence, meaning = _SEND_STATUSES[answer.status]
    else:
        evidence, meaning = Evidence.AMBIGUOUS, ACCOUNT_SET_UP if answer.status == 403 else PROVIDER_FAULT
    if any(_SPEAKS_OF_A_REFERENCE.search(text) for text in _texts(body)):
        evidence = Evidence.AMBIGUOUS
    return refused(answer, evidence, meaning, code)


def judge_status(
    answer: Exchange | TransportFailure, operation: Operation, client_reference: str
) -> StatusAnswer:
    """Return the status of a request by Hubtel's own answer about `client_reference` and no other."""
    if isinstance(answer, TransportFailure):
        return no_information(answer.fault.value)
    body = _folded(answer.json_object())
    if answer.status != 200 or body is None:
        return no_status(answer, _code(body))
    data = _folded(body.get("data")) or {}
    collects = operation is Operation.COLLECT
    if body.get("responsecode") not in (("0000",) if collects else ("success", "0000")):
        return no_information(_code(body) or "unknown_status")
    named = data.get("clientreference")
    if named is not None and named != client_reference:
        return about_another(named)
    told = _standing(data, collects=collects)
    return told if named is None else replace(told, reference=client_reference)


def _standing(data: Mapping[str, Any], *, collects: bool) -> StatusAnswer:
    """Read a status that names our own request, or none."""
    word = data.get("status" if collects else "transactionstatus")
    standings = _COLLECT_STANDINGS if collects else _SEND_MONEY_STANDINGS
    status_at_rail = standings.get(word.lower()) if isinstance(word, str) else None
    if status_at_rail is None:
        if word != "Refunded":
            return no_information("unknown_status")
        # The money came and went, and a human has to say what that is worth. Refunds of ours are money that
        # is sent, under references of their own.
        return replace(no_information("refunded"), went_back=data.get("clientreference") is not None)
    if status_at_rail is not RailStatus.PENDING and data.get("clientreference") is None:
        # It may be about another: what ends an order has to say that it is about this one.
        return no_information("unnamed_reference")
    transaction = _transaction(data)
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
    """Read what a callback claims; None where it is no callback of Hubtel's.

    It is unsigned, so it never is a ground for another rail. The failure that Hubtel documents for callbacks
    counts only together with the token of the callback's address, an `Unpaid` of Hubtel's own, and a prompt
    window that is over; any other code only says that it is time to ask.
    """
    code = _code(_folded(decode_object(body)))
    if code is None:
        return None
    failure = CALLBACK_FAILURES.get(code)
    return CallbackNote(failure=None if failure is None else Failure(failure, provider_code=code))


def _succeeded(data: Mapping[str, Any], transaction: str | None) -> StatusAnswer:
    amount, currency = data.get("amount"), data.get("currencycode")
    return succeeded(
        amount, pesewas(amount), transaction, currency=currency, is_our_currency=currency in (None, "GHS")
    )


def _folded(value: object) -> dict[str, Any] | None:
    """Return an object with its names in lower case: Hubtel's pages spell them in three ways.

    One that holds a name in two spellings may say two things: it cannot be read.
    """
    if not isinstance(value, dict):
        return None
    given = cast("dict[str, Any]", value)
    folded = {name.lower(): held for name, held in given.items()}
    return folded if len(folded) == len(given) else None


def _code(body: Mapping[str, Any] | None) -> str | None:
    return None if body is None else matching(body.get("responsecode"), _CODE)


def _transaction(body: Mapping[str, Any] | None) -> str | None:
    holder = body or {}
    data = _folded(holder.get("data")) or {}
    return read_transaction_id(holder.get("transactionid") or data.get("transactionid"))


def _texts(value: object) -> Iterator[str]:
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
