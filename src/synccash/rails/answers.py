"""What every rail's answers have in common: nothing sent, nothing said, waits, and amounts."""

import re
from decimal import Decimal, InvalidOperation

from synccash.payments.failure import Failure, FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.rail import SendAnswer, Standing, StatusAnswer
from synccash.rails.transport import Exchange
from synccash.resilience.evidence import Evidence

_SECONDS = re.compile(r"[0-9]{1,5}", re.ASCII)


def unsent(code: FailureCode, why: str) -> SendAnswer:
    """Say that the connector sent nothing: the fault is ours, and another rail may do better."""
    failure = Failure(code, reroute=True, provider_code=why)
    return SendAnswer(evidence=Evidence.NOT_SENT, failure=failure, provider_code=why)


def no_information(why: str, retry_after: float | None = None) -> StatusAnswer:
    """Say that the rail said nothing to go by."""
    return StatusAnswer(standing=Standing.NO_INFORMATION, provider_code=why, retry_after_s=retry_after)


def retry_after_s(answer: Exchange) -> float | None:
    """Return the wait that was asked for, in seconds; dates are not read, since clocks differ."""
    text = answer.headers.get("Retry-After", "").strip()
    return float(text) if _SECONDS.fullmatch(text) else None


def pesewas(amount: object) -> int | None:
    """Read an amount in major units, whichever way JSON carries it; None where it is none."""
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return None
    try:
        minor = Decimal(str(amount)[:40]) * 100
    except InvalidOperation:
        return None
    if not minor.is_finite() or not 0 <= minor <= AMOUNT_MAX or minor != minor.to_integral_value():
        return None
    return int(minor)
