"""Helpers for the answers of all rails: local refusals, missing information, Retry-After, and amounts."""

import re
from decimal import Decimal, InvalidOperation

from synccash.payments.failure import Failure, FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.rail import RailStatus, SendAnswer, StatusAnswer
from synccash.rails.transport import Exchange
from synccash.resilience.evidence import Evidence

_SECONDS = re.compile(r"[0-9]{1,5}", re.ASCII)
_NAMED_MAX = 64
_BALANCE_MAX = 10**15


OTHER_ACCOUNT = "other_account"
OTHER_REFERENCE = "other_reference"


def unsent(code: FailureCode, why: str, *, reroute: bool = True) -> SendAnswer:
    """Refuse an order before any byte leaves: no request reached the rail, so its health is not touched."""
    return SendAnswer(
        evidence=Evidence.NOT_SENT,
        failure=Failure(code, reroute=reroute, provider_code=why),
        provider_code=why,
        refused_locally=True,
    )


def of_another_account() -> SendAnswer:
    """Refuse an order of an account that is no longer configured.

    Another rail cannot take it: the order belongs to that account, like a refund to the account of its debit.
    """
    return unsent(FailureCode.PROVIDER_ACCOUNT_BLOCKED, OTHER_ACCOUNT, reroute=False)


def no_information(why: str, retry_after: float | None = None) -> StatusAnswer:
    """Return a status answer for a rail that gave no usable information."""
    return StatusAnswer(
        status_at_rail=RailStatus.NO_INFORMATION, provider_code=why, retry_after_s=retry_after
    )


def not_asked(why: str) -> StatusAnswer:
    """Return a status answer for an inquiry that was not sent; it proves nothing about the attempt or the
    rail."""
    return StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION, provider_code=why, refused_locally=True)


def about_another(named: object) -> StatusAnswer:
    """Refuse an answer that names another reference than the one asked for. `named`: what it names."""
    reference = named[:_NAMED_MAX] if isinstance(named, str) else type(named).__name__
    return StatusAnswer(
        status_at_rail=RailStatus.NO_INFORMATION, provider_code=OTHER_REFERENCE, reference=reference
    )


def retry_after_s(answer: Exchange) -> float | None:
    """Return the Retry-After in seconds; dates are ignored, since clocks differ."""
    text = answer.headers.get("Retry-After", "").strip()
    return float(text) if _SECONDS.fullmatch(text) else None


def balance(amount: object) -> int | None:
    """Read a balance in major units: whole pesewas, 0 when overdrawn; None when it is not a number."""
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return None
    try:
        minor = Decimal(str(amount)[:40]) * 100
    except InvalidOperation:
        return None
    return max(0, min(int(minor), _BALANCE_MAX)) if minor.is_finite() else None


def pesewas(amount: object) -> int | None:
    """Read an amount in major units, as a JSON string or number; None when it is not an amount."""
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return None
    try:
        minor = Decimal(str(amount)[:40]) * 100
    except InvalidOperation:
        return None
    if not minor.is_finite() or not 0 <= minor <= AMOUNT_MAX or minor != minor.to_integral_value():
        return None
    return int(minor)
