"""MTN MoMo's published test numbers and error codes, and the settings of the simulation.

What the numbers 450-454 really answer was taken from public reports of runs against MTN's sandbox in
September 2026: 202 at first for each; 453 stays PENDING; 454 is PENDING and succeeds after 4 to 45 seconds.
"""

import re
from typing import Annotated, Literal

import msgspec

from synccash.sandbox.orders import APPROVES, Pace, ScriptedOutcome

ERRORS: dict[str, tuple[int, str]] = {
    "BAD_REQUEST": (400, "Request does not follow the specification."),
    "RESOURCE_NOT_FOUND": (404, "Requested resource was not found."),
    "RESOURCE_ALREADY_EXIST": (409, "Duplicated reference id. Creation of resource failed."),
    # Mistakes of the caller, which MTN answers with HTTP 500.
    "NOT_ALLOWED": (500, "Authorization failed. Insufficient permissions."),
    "NOT_ALLOWED_TARGET_ENVIRONMENT": (500, "Access to target environment is forbidden."),
    "INVALID_CALLBACK_URL_HOST": (500, "Callback URL host is not the registered provider callback host."),
    "INVALID_CURRENCY": (500, "Currency not supported."),
    "INTERNAL_PROCESSING_ERROR": (500, "An internal error occurred while processing."),
    "SERVICE_UNAVAILABLE": (503, "Service temporarily unavailable, try again later."),
}

MISSING_KEY = (
    "Access denied due to missing subscription key. "
    "Make sure to include subscription key when making requests to an API."
)
WRONG_KEY = (
    "Access denied due to invalid subscription key. "
    "Make sure to provide a valid key for an active subscription."
)

OPENING_BALANCE = 100_000_000
"""Minor units: a float of one million, so that disbursements need no collection first."""
CURRENCY_OF_ENVIRONMENT = {"sandbox": "EUR", "mtnghana": "GHS"}

_SHARED: dict[int, ScriptedOutcome] = {
    450: ScriptedOutcome("INTERNAL_PROCESSING_ERROR"),
    451: ScriptedOutcome("APPROVAL_REJECTED"),
    452: ScriptedOutcome("EXPIRED"),
    453: ScriptedOutcome(pace=Pace.NEVER),
    454: ScriptedOutcome(pace=Pace.DELAYED),
}
PAYER_OUTCOMES: dict[int, ScriptedOutcome] = _SHARED | {
    455: ScriptedOutcome("PAYER_NOT_FOUND"),
    456: ScriptedOutcome("PAYEE_NOT_ALLOWED_TO_RECEIVE"),
    457: ScriptedOutcome("NOT_ALLOWED"),
    458: ScriptedOutcome("NOT_ALLOWED_TARGET_ENVIRONMENT"),
    459: ScriptedOutcome("INVALID_CALLBACK_URL_HOST"),
    460: ScriptedOutcome("INVALID_CURRENCY"),
    461: ScriptedOutcome("INTERNAL_PROCESSING_ERROR"),
    462: ScriptedOutcome("SERVICE_UNAVAILABLE"),
    463: ScriptedOutcome("COULD_NOT_PERFORM_TRANSACTION"),
    464: ScriptedOutcome("TRANSFER_TYPE_UNKNOWN"),
}
"""requesttopay, requesttowithdraw and deposit."""
TRANSFER_OUTCOMES: dict[int, ScriptedOutcome] = _SHARED | {
    455: ScriptedOutcome("NOT_ENOUGH_FUNDS"),
    456: ScriptedOutcome("PAYER_LIMIT_REACHED"),
    457: ScriptedOutcome("PAYEE_NOT_FOUND"),
    458: ScriptedOutcome("NOT_ALLOWED"),
    459: ScriptedOutcome("NOT_ALLOWED_TARGET_ENVIRONMENT"),
    460: ScriptedOutcome("INVALID_CALLBACK_URL_HOST"),
    461: ScriptedOutcome("INVALID_CURRENCY"),
    462: ScriptedOutcome("INTERNAL_PROCESSING_ERROR"),
    463: ScriptedOutcome("SERVICE_UNAVAILABLE"),
}
HOLDER_ERRORS: dict[int, str] = {
    450: "RESOURCE_NOT_FOUND",
    452: "NOT_ALLOWED",
    453: "NOT_ALLOWED_TARGET_ENVIRONMENT",
    454: "INTERNAL_PROCESSING_ERROR",
    455: "SERVICE_UNAVAILABLE",
}
"""accountholder/…/active; 451 is an inactive account holder."""
NOT_ACTIVE = 451

_TEST_NUMBER = re.compile(r"(?:46733123|23324\d{4})(4[56]\d)")
_GHANA = re.compile(r"233\d{9}")


def number_ending(msisdn: str) -> int | None:
    """Return the last three digits of a test number: MTN's 46733123450 and on, or the same under 23324."""
    found = _TEST_NUMBER.fullmatch(msisdn)
    return int(found[1]) if found else None


def outcome_of(
    msisdn: str, environment: str, outcomes: dict[int, ScriptedOutcome], not_found: str
) -> ScriptedOutcome:
    """Return the outcome of a request for this number.

    In Ghana a number that is not 233 and nine digits is accepted like any other and then not found, as was
    seen on MTN's production with local and plus forms.
    """
    ending = number_ending(msisdn)
    if ending in outcomes:
        return outcomes[ending]
    if not msisdn.isdecimal() or (environment == "mtnghana" and not _GHANA.fullmatch(msisdn)):
        return ScriptedOutcome(not_found)
    return APPROVES


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour that differs between MTN's own platforms.

    `platform`: "new" (momoapi.momo.africa) demands X-Target-Environment on /token/, refuses the agent
    python-requests, and does not know what "legacy" accepted; "legacy" does not know what "new" accepted.
    """

    platform: Literal["legacy", "new"] = "legacy"
    callback_method: Literal["PUT", "POST"] = "PUT"
    reason_shape: Literal["string", "object"] = "string"
    token_ttl_s: Annotated[int, msgspec.Meta(ge=1)] = 3600
    status_per_s: Annotated[int, msgspec.Meta(ge=0)] = 10
    """MTN's published cap on status requests; 0 lifts it."""
    subscription_keys: dict[Literal["collection", "disbursement"], list[str]] | None = None
    """Keys per product; without, any key is good that does not begin with "invalid"."""
