"""Builds the answers of connectors, and reads values that several rails send in the same form.

Each connector decides what a response proves. This module only builds the result.
"""

import re
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from synccash.payments.causes import Cause, CauseCode, cause_with
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.rail import FloatAnswer, NextAction, RailStatus, SendAnswer, StatusAnswer
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault
from synccash.resilience.evidence import Evidence

_SECONDS = re.compile(r"[0-9]{1,5}", re.ASCII)
_TRANSACTION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NAMED_MAX = 64
_BALANCE_MAX = 10**15

OTHER_ACCOUNT = "other_account"
OTHER_REFERENCE = "other_reference"

Meaning = tuple[FailureCode, bool]
"""A failure code, and whether another rail may be tried."""

ACCOUNT_SET_UP: Meaning = (FailureCode.PROVIDER_ACCOUNT_BLOCKED, True)
"""Our account with the provider, or its set-up, is the reason."""
PROVIDER_UNAVAILABLE: Meaning = (FailureCode.PROVIDER_UNAVAILABLE, True)
PROVIDER_FAULT: Meaning = (FailureCode.PROVIDER_ERROR, True)
UNCLEAR: Meaning = (FailureCode.PROVIDER_ERROR, False)
"""Not known to be the provider's own fault, so the same wallet is not prompted again over another rail."""
OWN_FLOAT: Meaning = (FailureCode.FLOAT_TOO_LOW, True)
"""Our float with the provider is too low: a payout goes to another rail, or waits until it is filled up."""


# Causes.

_FAULT_CAUSES = {fault: CauseCode(fault.value) for fault in TransportFault}
_STATUS_CAUSES = {
    401: CauseCode.CREDENTIALS_REFUSED,
    403: CauseCode.CREDENTIALS_REFUSED,
    429: CauseCode.RATE_LIMITED,
}


def cause_of_silence(failed: TransportFailure) -> Cause:
    """Return the cause of a request without a response."""
    return Cause(_FAULT_CAUSES[failed.fault])


def cause_of_response(answer: Exchange, code: str | None, meaning: FailureCode | None = None) -> Cause:
    """Return the cause of a response that is no acceptance. `code`: the rail's own, if any; `meaning`: what
    the connector's tables say about it."""
    if answer.status >= 500:
        kind = CauseCode.SERVER_ERROR
    elif answer.status in _STATUS_CAUSES:
        kind = _STATUS_CAUSES[answer.status]
    elif meaning is FailureCode.PROVIDER_ACCOUNT_BLOCKED:
        kind = CauseCode.ACCOUNT_REFUSED
    elif meaning is FailureCode.PROVIDER_UNAVAILABLE:
        kind = CauseCode.UNAVAILABLE
    else:
        kind = CauseCode.REJECTED if answer.status >= 400 else CauseCode.UNREADABLE
    status = f"HTTP {answer.status}"
    named = cause_with(kind, f"{status} {code}" if code else status)
    return named if named.detail else cause_with(kind, status)


# Answers without an exchange.


def unsent(code: FailureCode, why: str, *, reroute: bool = True) -> SendAnswer:
    """Refuse an order before any byte leaves: no request reached the rail, so its health is not touched."""
    return SendAnswer(
        evidence=Evidence.NOT_SENT,
        failure=Failure(code, reroute=reroute, provider_code=why),
        provider_code=why,
        refused_locally=True,
        cause=cause_with(CauseCode.NOT_ALLOWED_HERE, why),
    )


def refuse_other_account() -> SendAnswer:
    """Refuse an order of an account that is no longer configured.

    Another rail cannot take it: the order belongs to that account, like a refund to the account of its debit.
    """
    return unsent(FailureCode.PROVIDER_ACCOUNT_BLOCKED, OTHER_ACCOUNT, reroute=False)


def not_asked(why: str) -> StatusAnswer:
    """Return a status answer for an inquiry that was not sent; it proves nothing about the attempt or the
    rail."""
    return StatusAnswer(
        status_at_rail=RailStatus.NO_INFORMATION,
        provider_code=why,
        refused_locally=True,
        cause=cause_with(CauseCode.NOT_ALLOWED_HERE, why),
    )


def no_turn(why: str, *, again_in_s: float) -> StatusAnswer:
    """Return a status answer for an inquiry that got no turn under the rail's rate limit. It is to be
    repeated after `again_in_s`."""
    return replace(not_asked(why), deferred=True, retry_after_s=again_in_s)


# Answers to a send.


def unanswered(failed: TransportFailure, *, provider_code: str | None = None) -> SendAnswer:
    """Return a send answer for a request without a response. `provider_code` goes into its failure."""
    return SendAnswer(
        evidence=failed.evidence,
        failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True, provider_code=provider_code),
        provider_code=failed.fault.value,
        cause=cause_of_silence(failed),
    )


def accepted(
    answer: Exchange,
    *,
    next_action: NextAction | None,
    provider_code: str | None = None,
    provider_transaction_id: str | None = None,
    duplicate: bool = False,
) -> SendAnswer:
    """Return a send answer for a request that the rail has taken, now or before (`duplicate`)."""
    return SendAnswer(
        evidence=Evidence.ACCEPTED,
        next_action=next_action,
        provider_code=provider_code,
        provider_transaction_id=provider_transaction_id,
        duplicate=duplicate,
        http_status=answer.status,
    )


def refused(answer: Exchange, evidence: Evidence, meaning: Meaning, code: str | None) -> SendAnswer:
    """Return a send answer with a failure. Without a `code` of the rail's the HTTP status is the code."""
    failure_code, reroute = meaning
    provider_code = code or http_code(answer)
    failure = Failure(failure_code, reroute=reroute, provider_code=provider_code)
    is_healthy = evidence is Evidence.REFUSED_FINAL and not failure.counts_against_rail
    return SendAnswer(
        evidence=evidence,
        failure=failure,
        provider_code=provider_code,
        retry_after_s=retry_after_s(answer),
        http_status=answer.status,
        cause=None if is_healthy else cause_of_response(answer, code, failure_code),
    )


# Answers to an inquiry.


def no_information(why: str, retry_after: float | None = None, *, cause: Cause | None = None) -> StatusAnswer:
    """Return a status answer for a rail that gave no usable information. Without a `cause` the rail has
    answered, and its answer was not understood."""
    return StatusAnswer(
        status_at_rail=RailStatus.NO_INFORMATION,
        provider_code=why,
        retry_after_s=retry_after,
        cause=cause or cause_with(CauseCode.UNREADABLE, why),
    )


def no_response(failed: TransportFailure) -> StatusAnswer:
    """Return a status answer for an inquiry without a response."""
    return no_information(failed.fault.value, cause=cause_of_silence(failed))


def no_status(answer: Exchange, code: str | None) -> StatusAnswer:
    """Return a status answer for a response that carries no status. `code`: the rail's own, if any."""
    why = code or http_code(answer)
    return no_information(why, retry_after_s(answer), cause=cause_of_response(answer, code))


def wrong_reference(named: object) -> StatusAnswer:
    """Refuse an answer that names another reference than the one asked for. `named`: what it names."""
    reference = named[:_NAMED_MAX] if isinstance(named, str) else type(named).__name__
    return StatusAnswer(
        status_at_rail=RailStatus.NO_INFORMATION,
        provider_code=OTHER_REFERENCE,
        reference=reference,
        cause=Cause(CauseCode.OTHER_REFERENCE),
    )


def succeeded(
    amount: object,
    received: int | None,
    transaction: str | None,
    *,
    currency: str | None,
    is_our_currency: bool,
) -> StatusAnswer:
    """Return a status answer for money that moved.

    `amount` is what the rail names, `received` the same in pesewas. An amount that cannot be read, or one in
    another currency, is no information.
    """
    if (amount is not None and received is None) or not is_our_currency:
        return no_information("unreadable_amount")
    return StatusAnswer(
        status_at_rail=RailStatus.SUCCEEDED,
        provider_transaction_id=transaction,
        amount=received,
        currency=currency,
    )


def failed(meaning: Meaning, code: str | None, transaction: str | None) -> StatusAnswer:
    """Return a status answer for an attempt that ended without money. `code`: the rail's own reason."""
    failure_code, reroute = meaning
    return StatusAnswer(
        status_at_rail=RailStatus.FAILED,
        failure=Failure(failure_code, reroute=reroute, provider_code=code),
        provider_code=code,
        provider_transaction_id=transaction,
    )


# Answers about a float.


def unanswered_float(failed: TransportFailure) -> FloatAnswer:
    """Return a float answer for a request without a response."""
    return FloatAnswer(provider_code=failed.fault.value, is_fault=True, cause=cause_of_silence(failed))


def no_float(answer: Exchange, code: str | None) -> FloatAnswer:
    """Return a float answer for a response that carries no balance. `code`: the rail's own, if any."""
    return FloatAnswer(
        provider_code=code or http_code(answer),
        is_fault=answer.status >= 500,
        cause=cause_of_response(answer, code),
    )


# Values in a response.


def http_code(answer: Exchange) -> str:
    """Return the HTTP status in the form of a provider code."""
    return f"http_{answer.status}"


def retry_after_s(answer: Exchange) -> float | None:
    """Return the Retry-After in seconds; dates are ignored, since clocks differ."""
    text = answer.headers.get("Retry-After", "").strip()
    return float(text) if _SECONDS.fullmatch(text) else None


def is_legible(answer: Exchange, body: object | None) -> bool:
    """Return True for a JSON object (`body`) or no body at all.

    A web page may come from any proxy, also from one on the way back, so its HTTP status proves nothing.
    """
    return body is not None or not answer.body.strip()


def matching(value: object, pattern: re.Pattern[str]) -> str | None:
    """Return a value that is a string and matches the whole pattern, else None."""
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def read_transaction_id(value: object) -> str | None:
    """Return a provider's id of a transaction, or None for what is not an id."""
    return matching(value, _TRANSACTION_ID)


def json_object(value: object) -> dict[str, Any]:
    """Return a decoded JSON object, or an empty one for any other value."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def balance(amount: object) -> int | None:
    """Read a balance in major units: whole pesewas, 0 when overdrawn; None when it is not a number."""
    minor = _minor_units(amount)
    return None if minor is None else max(0, min(int(minor), _BALANCE_MAX))


def pesewas(amount: object) -> int | None:
    """Read an amount in major units, as a JSON string or number; None when it is not an amount."""
    minor = _minor_units(amount)
    if minor is None or not 0 <= minor <= AMOUNT_MAX or minor != minor.to_integral_value():
        return None
    return int(minor)


def _minor_units(amount: object) -> Decimal | None:
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return None
    try:
        minor = Decimal(str(amount)[:40]) * 100
    except InvalidOperation:
        return None
    return minor if minor.is_finite() else None
